"""An image bundle is believed only when every byte of it is what its metadata says."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import BundleError
from model.findings import Vertebra
from model.image_bundle import WEIGHTS_FILE, load_image_bundle, parse_image_metadata
from model.image_config import Approach, ImageNetworkConfig
from model.image_predictor import load_image_network
from model.network_config import Encoder
from tests.model.image_bundles import SEEN, write_image_bundle


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_image_bundle(tmp_path_factory.mktemp("bundle") / "whole")


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "bundle")


def rewrite(folder, **changes):
    document = json.loads((folder / "metadata.json").read_text()) | changes
    (folder / "metadata.json").write_text(json.dumps(document))


def test_a_bundle_says_what_it_is_and_gives_its_weights(whole):
    bundle = load_image_bundle(whole)
    assert bundle.metadata.network.approach is Approach.ENCODER_DECODER
    assert bundle.metadata.levels == tuple(Vertebra)
    assert len(bundle.sha256) == 64
    network = load_image_network(bundle)
    assert all(np.array_equal(a, b) for a, b in zip(network.get_weights(), bundle.weights(), strict=True))


def test_one_changed_byte_of_the_weights_is_refused(copy):
    content = bytearray((copy / WEIGHTS_FILE).read_bytes())
    content[500] ^= 1
    (copy / WEIGHTS_FILE).write_bytes(bytes(content))
    with pytest.raises(BundleError, match="was changed"):
        load_image_bundle(copy)


NETWORK = {"approach": "encoder-decoder", "encoder": "compact", "decoder": [64, 48, 32], "weights_file": WEIGHTS_FILE}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "cspine-bundle/2"}, "schema"),
        ({"preprocess_version": "image-0"}, "preprocessing"),
        ({"network": []}, "network must be described"),
        ({"network": NETWORK | {"approach": "oracle"}}, "oracle"),
        ({"network": NETWORK | {"encoder": "cnn"}}, "go together"),
        ({"network": NETWORK | {"decoder": []}}, "decoder"),
        ({"network": NETWORK | {"weights_file": "absent.npz"}}, "not among files"),
        ({"preprocess": {"rows": 64}}, "exactly the fields"),
        ({"levels": ["T1"]}, "names of vertebrae"),
        ({"seen": {"mean": [0, 1]}}, "exactly the fields"),
        ({"seen": {name: [1] for name in SEEN}}, "two numbers"),
        ({"operating_point": "absent"}, "threshold in force"),
        ({"files": {"../image.npz": "0" * 64}}, "plain file name"),
        ({"intended_use": ""}, "must be a text"),
    ],
)
def test_metadata_that_is_not_understood_is_refused(copy, changes, message):
    rewrite(copy, **changes)
    with pytest.raises(BundleError, match=message):
        load_image_bundle(copy)


def test_weights_of_another_network_are_refused_by_a_sentence(copy):
    rewrite(copy, network=NETWORK | {"decoder": [64, 48]})
    with pytest.raises(BundleError, match="do not fit"):
        load_image_network(load_image_bundle(copy))


@given(content=st.binary(max_size=200))
def test_arbitrary_bytes_are_no_metadata(content):
    with pytest.raises(BundleError):
        parse_image_metadata(content)


@pytest.mark.parametrize(
    ("approach", "encoder", "decoder", "rows", "message"),
    [
        (Approach.CUSTOM_CNN, Encoder.COMPACT, (), 64, "go together"),
        (Approach.CLASSIFIER, Encoder.COMPACT, (64,), 64, "decoder"),
        (Approach.ENCODER_DECODER, Encoder.COMPACT, (), 64, "decoder"),
        (Approach.CLASSIFIER, Encoder.COMPACT, (), 60, "multiples of 32"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(approach, encoder, decoder, rows, message):
    with pytest.raises(ValueError, match=message):
        ImageNetworkConfig(approach, encoder, None, decoder, rows, 64)
