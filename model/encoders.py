"""The encoders of the project's U-Nets: what a network is built on, and features at every size, taken by structure.

Only ``keras`` and its ``ops``-based layers are used, so that it runs on every Keras backend.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers


class Encoder(StrEnum):
    """The encoders that a network can be built on; ``CNN`` is the paper's plain stack of convolutions."""

    INCEPTION_RESNET_V2 = "inception_resnet_v2"
    MOBILENET_V2 = "mobilenet_v2"
    COMPACT = "compact"
    CNN = "cnn"


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """What to build.

    ``weights`` of the encoder: None (random), "imagenet" (fetched by Keras) or the path of a local weights file; only
    the encoders of ``keras.applications`` know the last two. ``decoder``: channels of each stage upwards; a decoder
    that is shorter than the encoder stops at a coarser size than the input's, an empty one leaves the encoder alone.
    ``height`` and ``width`` None: any multiple of 32.
    """

    encoder: Encoder = Encoder.INCEPTION_RESNET_V2
    weights: str | None = None
    decoder: tuple[int, ...] = (256, 128, 64, 32, 16)
    height: int | None = None
    width: int | None = None


COMPACT_CHANNELS = (16, 32, 48, 64, 96)
CNN_CHANNELS = (32, 64, 128, 128, 128)
STRIDES = {Encoder.COMPACT: 16}
"""By how much an encoder's deepest features are coarser than its input; 32 where nothing is said."""


DECODERS = {
    Encoder.INCEPTION_RESNET_V2: (256, 128, 64, 32, 16),
    Encoder.MOBILENET_V2: (128, 96, 64, 32, 16),
    Encoder.COMPACT: (64, 48, 32, 16),
    Encoder.CNN: (128, 64, 32, 32, 16),
}
"""The usual decoder of each encoder."""


def compact_config() -> NetworkConfig:
    """Both networks of the embedded bundle: about half a million weights each."""
    return NetworkConfig(Encoder.COMPACT, decoder=DECODERS[Encoder.COMPACT])


def network_of(stage: str, encoder: Encoder) -> NetworkConfig:
    """The network of an encoder for the stage "levels" or "fractures".

    The plain CNN has no decoder in the stage "fractures": it classifies, as the paper's does.
    """
    return NetworkConfig(encoder, decoder=() if (stage, encoder) == ("fractures", Encoder.CNN) else DECODERS[encoder])


def convolution(tensor: Any, channels: int, name: str, *, strides: int = 1) -> Any:
    """Convolution, batch normalization and rectification."""
    tensor = layers.Conv2D(channels, 3, strides=strides, padding="same", use_bias=False, name=f"{name}_conv")(tensor)
    tensor = layers.BatchNormalization(momentum=0.95, name=f"{name}_norm")(tensor)
    return layers.Activation("relu", name=f"{name}_relu")(tensor)


def _compact(config: NetworkConfig, inputs: Any) -> list[Any]:
    """Features from full size down to a sixteenth."""
    if config.weights is not None:
        raise ValueError("the compact encoder has no pretrained weights")
    features = []
    tensor = inputs
    for depth, channels in enumerate(COMPACT_CHANNELS):
        if depth:
            tensor = layers.MaxPooling2D(2, name=f"down{depth}")(tensor)
        tensor = convolution(tensor, channels, f"encoder{depth}a")
        tensor = convolution(tensor, channels, f"encoder{depth}b")
        features.append(tensor)
    return features


def _cnn(config: NetworkConfig, inputs: Any) -> list[Any]:
    """A plain stack of convolution, rectification and pooling."""
    if config.weights is not None:
        raise ValueError("the plain encoder has no pretrained weights")
    features, tensor = [inputs], inputs
    for depth, channels in enumerate(CNN_CHANNELS):
        tensor = layers.Conv2D(channels, 3, padding="same", activation="relu", name=f"encoder{depth}")(tensor)
        tensor = layers.MaxPooling2D(2, name=f"down{depth}")(tensor)
        features.append(tensor)
    return features


def _same_padding(layer: Any) -> Any:
    """The layer with "same" padding, so that every size is a power of two of the input's."""
    settings = layer.get_config()
    if settings.get("padding") == "valid":
        settings["padding"] = "same"
    return layer.__class__.from_config(settings)


def _last_by_size(network: Any) -> list[int]:
    """Positions of the last layers with a four-axis output at each size, largest size first: structure, not names."""
    last: dict[int, int] = {}
    for position, layer in enumerate(network.layers):
        shape = layer.output.shape
        if len(shape) == 4 and position > 0 and int(shape[1]) & (int(shape[1]) - 1) == 0:
            last[int(shape[1])] = position
    return [last[size] for size in sorted(last, reverse=True) if size < 256]


def _application(original: Any, clone: Callable[[Any], Any]) -> Any:
    """The encoder of ``keras.applications`` as a model of its features at half size down to a thirty-second."""
    probe = keras.models.clone_model(original, input_tensors=layers.Input((256, 256, 3)), clone_function=clone)
    positions = _last_by_size(probe)
    encoder = keras.models.clone_model(original, clone_function=clone)
    encoder.set_weights(original.get_weights())
    return keras.Model(encoder.inputs, [encoder.layers[position].output for position in positions], name="encoder")


def _inception_resnet_v2(config: NetworkConfig, inputs: Any) -> list[Any]:
    """InceptionResNetV2; "same" padding keeps pretrained weights loadable."""
    original = keras.applications.InceptionResNetV2(
        include_top=False, weights=config.weights, input_shape=(None, None, 3)
    )
    return [inputs, *_application(original, _same_padding)(_three_channels(inputs))]


def _mobilenet_v2(config: NetworkConfig, inputs: Any) -> list[Any]:
    """MobileNetV2, whose sizes are powers of two as they are."""
    original = keras.applications.MobileNetV2(include_top=False, weights=config.weights, input_shape=(None, None, 3))
    unchanged = _application(original, lambda layer: layer.__class__.from_config(layer.get_config()))
    return [inputs, *unchanged(_three_channels(inputs))]


def _three_channels(inputs: Any) -> Any:
    """The input mixed to the three channels of pretrained encoders, which start as the first three."""
    channels = int(inputs.shape[-1])
    if channels == 3:
        return inputs
    mixing = layers.Conv2D(3, 1, use_bias=False, name="three_channels")
    mixed = mixing(inputs)
    mixing.set_weights([np.eye(channels, 3, dtype=np.float32)[None, None]])
    return mixed


ENCODERS: dict[Encoder, Callable[[NetworkConfig, Any], list[Any]]] = {
    Encoder.INCEPTION_RESNET_V2: _inception_resnet_v2,
    Encoder.MOBILENET_V2: _mobilenet_v2,
    Encoder.COMPACT: _compact,
    Encoder.CNN: _cnn,
}
"""Each makes features from the largest size to the smallest; every size is half the one before."""


def local_weights(path: Path) -> str:
    """The value of ``NetworkConfig.weights`` for a local weights file; raises ValueError when there is none."""
    if not path.is_file():
        raise ValueError(f"there is no weights file {path.name}")
    return str(path)
