"""An image network begins with the layers of a volume bundle: features, not answers, are taken over."""

import numpy as np
import pytest

from model.bundle import load_bundle
from model.image_config import Approach, image_network_config
from model.image_network import build_image_network
from model.network_config import Encoder
from model.predictor import load_networks
from training.images.image_transfer import SCALE, transfer_bundle


def test_layers_with_a_namesake_are_taken_and_the_heads_are_not():
    network = build_image_network(image_network_config(Approach.ENCODER_DECODER, Encoder.COMPACT, None, 64, 64))
    heads = [values.copy() for values in network.get_layer("fracture").get_weights()]
    done = transfer_bundle(network, None)
    bundle = load_bundle()
    source = load_networks(bundle)[1].slices
    assert (done.bundle, done.sha256) == (bundle.name, bundle.sha256)
    assert done.layers >= 20
    for name in ("encoder1a_conv", "encoder4b_norm", "decoder0a_conv"):
        for ours, theirs in zip(
            network.get_layer(name).get_weights(), source.get_layer(name).get_weights(), strict=True
        ):
            assert np.array_equal(ours, theirs)
    assert all(np.array_equal(a, b) for a, b in zip(heads, network.get_layer("fracture").get_weights(), strict=True))


def test_the_first_layer_sees_an_image_as_three_equal_slices():
    network = build_image_network(image_network_config(Approach.CLASSIFIER, Encoder.COMPACT, None, 64, 64))
    transfer_bundle(network, None)
    ours = network.get_layer("encoder0a_conv").get_weights()[0]
    theirs = load_networks(load_bundle())[1].slices.get_layer("encoder0a_conv").get_weights()[0]
    image = np.random.default_rng(2).normal(size=(3, 3)).astype(np.float32)
    slices = np.stack([SCALE * image] * 3 + [np.zeros_like(image)], axis=-1)
    seen = np.tensordot(image, ours[:, :, 0], axes=2)
    assert seen == pytest.approx(np.tensordot(slices, theirs, axes=3), abs=1e-4)


def test_another_encoder_is_refused():
    network = build_image_network(image_network_config(Approach.CUSTOM_CNN, Encoder.COMPACT, None, 64, 64))
    with pytest.raises(ValueError, match="no layer"):
        transfer_bundle(network, None)
