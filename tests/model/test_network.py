"""Every encoder makes networks of the right shape; pretrained weights fit the same-padded clone."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from model.network import build_fracture_network, build_unet, sequence_network
from model.network_config import Encoder, NetworkConfig, compact_config, local_weights, network_of


def answered(network, images):
    """The network's outputs, called without a graph: tracing one for a single batch takes longer than the answer."""
    return {name: keras.ops.convert_to_numpy(values) for name, values in network(images, training=False).items()}


def black(*shape):
    return np.zeros(shape, dtype=np.float32)


def test_the_compact_network_answers_for_every_pixel_at_any_multiple_of_32():
    network = build_unet(compact_config())
    for height, width in ((64, 64), (96, 32)):
        answer = answered(network, black(2, height, width, 3))
        assert answer["levels"].shape == (2, height, width, 8)
        assert np.allclose(answer["levels"].sum(axis=-1), 1, atol=1e-4)


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
    answer = answered(network, black(1, 64, 96, 3))
    assert answer["levels"].shape == (1, 64, 96, 8)


def test_a_decoder_that_does_not_fit_its_encoder_is_refused():
    with pytest.raises(ValueError, match="at most 4 decoder stages"):
        build_unet(NetworkConfig(encoder=Encoder.COMPACT, decoder=(8, 8, 8, 8, 8)))


def test_pretrained_weights_of_the_compact_encoder_are_refused():
    with pytest.raises(ValueError, match="no pretrained weights"):
        build_unet(NetworkConfig(encoder=Encoder.COMPACT, weights="imagenet", decoder=(64, 48, 32, 16)))


def test_a_missing_weights_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="no weights file absent"):
        local_weights(tmp_path / "absent.h5")


@pytest.mark.parametrize(
    ("config", "mask_size"),
    [
        (compact_config(), (64, 96)),
        (NetworkConfig(Encoder.COMPACT, decoder=(64, 48, 32)), (32, 48)),
        (NetworkConfig(Encoder.MOBILENET_V2, decoder=(32, 16, 16, 8)), (32, 48)),
        (NetworkConfig(Encoder.CNN, decoder=()), (2, 3)),
    ],
)
def test_a_fracture_network_answers_for_slices_and_for_any_number_of_them(config, mask_size):
    network = build_fracture_network(config)
    answer = answered(network.slices, black(3, 64, 96, 4))
    assert answer["mask"].shape == (3, *mask_size, 1)
    assert answer["activation"].shape[0] == 3
    assert answer["evidence"] == pytest.approx(answer["activation"].mean(axis=(1, 2)), abs=1e-5)
    for slices in (1, 5):
        features = np.random.default_rng(0).normal(size=(2, slices, answer["features"].shape[-1]))
        probability = keras.ops.convert_to_numpy(network.pooling(features.astype(np.float32)))
        assert probability.shape == (2, 1)
        assert ((probability > 0) & (probability < 1)).all()


def test_attention_hears_every_slice_and_not_their_order():
    network = build_fracture_network(compact_config())
    size = network.pooling.inputs[0].shape[-1]
    features = np.random.default_rng(1).normal(size=(1, 6, size)).astype(np.float32)
    score, turned = (keras.ops.convert_to_numpy(network.pooling(part)) for part in (features, features[:, ::-1]))
    assert turned == pytest.approx(score, abs=1e-5)
    other = features.copy()
    other[:, 3] += 3
    assert abs(keras.ops.convert_to_numpy(network.pooling(other)) - score) > 1e-4


def test_what_is_trained_is_what_serves():
    """The sequence network shares its weights with the two parts and gives the same answers."""
    network = build_fracture_network(compact_config())
    sequence = sequence_network(network, 2, (32, 32, 4))
    crops = np.random.default_rng(2).normal(size=(3, 2, 32, 32, 4)).astype(np.float32)
    answer = answered(sequence, crops)
    slices = answered(network.slices, crops.reshape(6, 32, 32, 4))
    assert answer["mask"].reshape(slices["mask"].shape) == pytest.approx(slices["mask"], abs=1e-5)
    pooled = keras.ops.convert_to_numpy(network.pooling(slices["features"].reshape(3, 2, -1)))
    assert answer["fracture"] == pytest.approx(pooled, abs=1e-5)
    again = build_fracture_network(compact_config())
    again.set_weights(network.get_weights())
    assert np.array_equal(answered(again.slices, crops[0])["mask"], answered(network.slices, crops[0])["mask"])


@pytest.mark.slow
def test_inception_resnet_v2_takes_four_channels_and_starts_with_the_first_three():
    network = build_fracture_network(NetworkConfig(decoder=(64, 32, 16, 8)))
    kernel = network.slices.get_layer("three_channels").get_weights()[0]
    assert np.array_equal(kernel[0, 0], np.eye(4, 3))
    assert answered(network.slices, black(1, 64, 64, 4))["mask"].shape == (1, 32, 32, 1)


@pytest.mark.parametrize("encoder", [Encoder.MOBILENET_V2, Encoder.COMPACT, Encoder.CNN])
def test_crops_that_are_no_multiple_of_the_stride_are_filled_up(encoder):
    network = build_fracture_network(replace(network_of("fractures", encoder), height=80, width=96))
    answer = answered(network.slices, black(1, 80, 96, 4))
    assert answer["mask"].shape == ((1, 3, 3, 1) if encoder is Encoder.CNN else (1, 80, 96, 1))
