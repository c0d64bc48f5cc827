"""Both encoders make networks of the right shape; pretrained weights fit the same-padded clone."""

import keras
import numpy as np
import pytest

from model.network import Encoder, NetworkConfig, build_unet, compact_config, local_weights


def test_the_compact_network_answers_for_every_pixel_at_any_multiple_of_32():
    network = build_unet(compact_config())
    for height, width in ((64, 64), (96, 32)):
        answer = network.predict_on_batch(np.zeros((2, height, width, 3), dtype=np.float32))
        assert answer["levels"].shape == (2, height, width, 8)
        assert answer["fracture"].shape == (2, height, width, 1)
        assert np.allclose(answer["levels"].sum(axis=-1), 1, atol=1e-4)
        assert answer["fracture"].min() >= 0
        assert answer["fracture"].max() <= 1


def test_the_compact_network_is_small_enough_to_ship():
    assert build_unet(compact_config()).count_params() < 700_000


@pytest.fixture(scope="module")
def original():
    return keras.applications.InceptionResNetV2(include_top=False, weights=None, input_shape=(None, None, 3))


def fingerprints(weights):
    return sorted((weight.shape, weight.tobytes()[:64]) for weight in weights)


@pytest.mark.slow
def test_inception_resnet_v2_weights_of_keras_fit_the_same_padded_encoder(original, tmp_path):
    path = tmp_path / "encoder.weights.h5"
    original.save_weights(path)
    network = build_unet(NetworkConfig(weights=local_weights(path)))
    encoder = network.get_layer("encoder")
    # As sets: a model of several outputs lists its layers in another order than the original.
    ours, theirs = fingerprints(encoder.get_weights()), fingerprints(original.get_weights())
    assert ours == theirs
    assert len(set(theirs)) > 200
    sizes = [tuple(output.shape[1:3]) for output in encoder.compute_output_spec(keras.KerasTensor((1, 256, 256, 3)))]
    assert sizes == [(128, 128), (64, 64), (32, 32), (16, 16), (8, 8)]
    answer = network.predict_on_batch(np.zeros((1, 64, 96, 3), dtype=np.float32))
    assert answer["levels"].shape == (1, 64, 96, 8)
    assert answer["fracture"].shape == (1, 64, 96, 1)


def test_a_decoder_that_does_not_fit_its_encoder_is_refused():
    with pytest.raises(ValueError, match="needs 4 decoder stages"):
        build_unet(NetworkConfig(encoder=Encoder.COMPACT, decoder=(8, 8)))


def test_pretrained_weights_of_the_compact_encoder_are_refused():
    with pytest.raises(ValueError, match="no pretrained weights"):
        build_unet(NetworkConfig(encoder=Encoder.COMPACT, weights="imagenet", decoder=(64, 48, 32, 16)))


def test_a_missing_weights_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="no weights file absent"):
        local_weights(tmp_path / "absent.h5")
