"""A bundle is believed only when every byte of it is what its metadata says."""

import hashlib
import io
import json
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.bundle import EMBEDDED_BUNDLE, METADATA_FILE, load_bundle, parse_metadata
from model.errors import BundleError


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(EMBEDDED_BUNDLE, tmp_path / "bundle")


NETWORK = {"encoder": "compact", "decoder": [64, 48, 32, 16], "weights_file": "levels.npz"}


def rewrite(folder, **changes):
    document = json.loads((folder / METADATA_FILE).read_text())
    document.update(changes)
    (folder / METADATA_FILE).write_text(json.dumps(document))


def test_the_embedded_bundle_loads_and_says_what_it_is():
    bundle = load_bundle()
    assert bundle.name == "cspine-synthetic"
    assert len(bundle.sha256) == 64
    assert "Not a medical device" in bundle.metadata.intended_use
    assert "unknown" in bundle.metadata.limits
    assert sum(path.stat().st_size for path in bundle.path.iterdir()) < 32 * 1024 * 1024
    for network in (bundle.metadata.levels, bundle.metadata.fractures):
        assert all(array.dtype == np.float32 for array in bundle.weights(network))
    assert set(bundle.metadata.operating_points) == {"balanced", "high sensitivity"}


@pytest.mark.parametrize("network", ["levels", "fractures"])
@pytest.mark.parametrize("position", [0, 5000, -1])
def test_one_changed_byte_of_the_weights_is_refused(copy, position, network):
    path = copy / getattr(load_bundle(copy).metadata, network).weights_file
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(BundleError, match="was changed") as error:
        load_bundle(copy)
    assert error.value.permanent


def test_weights_changed_after_loading_are_refused_when_they_are_read(copy):
    bundle = load_bundle(copy)
    (copy / bundle.metadata.levels.weights_file).write_bytes(b"other")
    with pytest.raises(BundleError, match="was changed"):
        bundle.weights(bundle.metadata.levels)


def test_pickled_arrays_are_never_loaded(copy):
    content = io.BytesIO()
    np.savez(content, a=np.array([{"code": 1}], dtype=object))
    metadata = load_bundle(copy).metadata
    name = metadata.levels.weights_file
    (copy / name).write_bytes(content.getvalue())
    rewrite(copy, files=metadata.files | {name: hashlib.sha256(content.getvalue()).hexdigest()})
    with pytest.raises(BundleError, match="no array file"):
        load_bundle(copy).weights(metadata.levels)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "other/1"}, "schema"),
        ({"preprocess_version": "axial-9"}, "preprocessing"),
        ({"files": {"../../etc/passwd": "0" * 64}}, "plain file name"),
        ({"files": {"weights.npz": "short"}}, "SHA-256"),
        ({"files": {}}, "files"),
        ({"networks": {"levels": NETWORK, "fractures": NETWORK | {"weights_file": "absent.npz"}}}, "not among files"),
        ({"networks": {"levels": NETWORK}}, "must describe fractures"),
        ({"networks": []}, "must describe levels"),
        ({"calibration": {"scale": 1.0}}, "exactly the fields"),
        ({"crops": {"rows": "80"}}, "exactly the fields"),
        ({"preprocess": {"spacing_mm": 1.0}}, "exactly the fields"),
        ({"naming": []}, "exactly the fields"),
        ({"operating_points": {"balanced": 2.0}}, "within 0..1"),
        ({"operating_point": "absent"}, "threshold in force"),
        ({"networks": {"levels": NETWORK | {"decoder": ["64"]}, "fractures": NETWORK}}, "channel numbers"),
        ({"name": ""}, "must be a text"),
    ],
)
def test_metadata_that_is_not_understood_is_refused(copy, changes, message):
    rewrite(copy, **changes)
    with pytest.raises(BundleError, match=message):
        load_bundle(copy)


def test_a_missing_folder_and_a_missing_file_are_refused(tmp_path, copy):
    with pytest.raises(BundleError, match="no bundle"):
        load_bundle(tmp_path / "absent")
    (copy / "levels.npz").unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        load_bundle(copy)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_arbitrary_bytes_are_no_metadata(content):
    with pytest.raises(BundleError):
        parse_metadata(content)


def test_the_digest_follows_the_metadata(copy):
    before = load_bundle(copy).sha256
    rewrite(copy, version="999")
    assert load_bundle(copy).sha256 != before
