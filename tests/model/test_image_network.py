"""The three approaches: their outputs, what can be frozen, and that their maps explain their decision."""

import keras
import numpy as np
import pytest

from model.image_config import Approach, image_network_config
from model.image_network import build_feature_network, build_image_network
from model.network_config import Encoder
from training.fitting.recipes import freeze_encoder

IMAGES = np.random.default_rng(5).uniform(-1, 1, (3, 64, 64, 1)).astype(np.float32)


@pytest.fixture(scope="module", params=list(Approach))
def network(request):
    return build_image_network(image_network_config(request.param, Encoder.COMPACT, None, 64, 64))


def test_the_outputs_are_a_distribution_over_levels_a_probability_and_a_map(network):
    answer = network.predict_on_batch(IMAGES)
    assert answer["levels"].shape == (3, 7)
    assert answer["levels"].sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert answer["fracture"].shape == (3, 1)
    assert answer["evidence"].shape[0] == 3
    assert answer["evidence"].shape[3] == 1


def test_the_encoder_decoder_has_the_finest_map():
    sizes = {
        approach: build_image_network(image_network_config(approach, Encoder.COMPACT, None, 64, 64))
        .output["evidence"]
        .shape[1]
        for approach in Approach
    }
    assert sizes[Approach.ENCODER_DECODER] == 32
    assert sizes[Approach.CLASSIFIER] == 4
    assert sizes[Approach.CUSTOM_CNN] == 2


def test_the_classification_map_averages_to_the_decision():
    network = build_image_network(image_network_config(Approach.CLASSIFIER, Encoder.COMPACT, None, 64, 64))
    answer = network.predict_on_batch(IMAGES)
    mean = answer["evidence"].mean(axis=(1, 2, 3))
    assert 1 / (1 + np.exp(-mean)) == pytest.approx(answer["fracture"].ravel(), abs=1e-4)


def test_pretrained_encoders_see_gray_in_all_three_channels_and_can_be_frozen():
    network = build_image_network(image_network_config(Approach.ENCODER_DECODER, Encoder.MOBILENET_V2, None, 64, 64))
    before = len(network.trainable_weights)
    freeze_encoder(network, frozen=True)
    assert 0 < len(network.trainable_weights) < before
    color = network.get_layer("gray_as_color").output
    seen = keras.Model(network.inputs, color).predict_on_batch(IMAGES)
    assert np.array_equal(seen, np.repeat(IMAGES, 3, axis=3))


@pytest.mark.slow
def test_the_papers_network_is_built_and_answers():
    network = build_image_network(
        image_network_config(Approach.ENCODER_DECODER, Encoder.INCEPTION_RESNET_V2, None, 64, 64)
    )
    answer = network.predict_on_batch(IMAGES[:1])
    assert answer["levels"].shape == (1, 7)
    assert answer["evidence"].shape == (1, 32, 32, 1)
    freeze_encoder(network, frozen=True)
    trained = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
    assert trained < 0.2 * network.count_params()


def test_features_are_those_of_the_encoder(network):
    answer = build_feature_network(network).predict_on_batch(IMAGES)
    assert answer["features"].shape == (3, answer["maps"].shape[3])
    assert answer["maps"].mean(axis=(1, 2)) == pytest.approx(answer["features"], abs=1e-4)
