"""The 2.5-D U-Net: an encoder from a small registry, skips taken by structure, a level head and a fracture head.

Only ``keras`` and its ``ops``-based layers are used, so that it runs on every Keras backend.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import keras
from keras import layers

LEVEL_CHANNELS = 8
"""Background and C1 to C7."""


class Encoder(StrEnum):
    """The encoders that a network can be built on."""

    INCEPTION_RESNET_V2 = "inception_resnet_v2"
    COMPACT = "compact"


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """What to build.

    ``weights`` of the encoder: None (random), "imagenet" (fetched by Keras) or the path of a local weights file; only
    InceptionResNetV2 knows the last two. ``height`` and ``width`` None: any multiple of 32.
    """

    encoder: Encoder = Encoder.INCEPTION_RESNET_V2
    weights: str | None = None
    decoder: tuple[int, ...] = (256, 128, 64, 32, 16)
    height: int | None = None
    width: int | None = None


COMPACT_CHANNELS = (16, 32, 48, 64, 96)
COMPACT_DECODER = (64, 48, 32, 16)


def compact_config() -> NetworkConfig:
    """The network of the embedded bundle: about half a million weights."""
    return NetworkConfig(encoder=Encoder.COMPACT, decoder=COMPACT_DECODER)


def _convolution(tensor: Any, channels: int, name: str, *, strides: int = 1) -> Any:
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
        tensor = _convolution(tensor, channels, f"encoder{depth}a")
        tensor = _convolution(tensor, channels, f"encoder{depth}b")
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
        if len(shape) == 4 and position > 0:
            last[int(shape[1])] = position
    return [last[size] for size in sorted(last, reverse=True)]


def _inception_resnet_v2(config: NetworkConfig, inputs: Any) -> list[Any]:
    """Features at half size down to a thirty-second; "same" padding keeps pretrained weights loadable."""
    original = keras.applications.InceptionResNetV2(
        include_top=False, weights=config.weights, input_shape=(None, None, 3)
    )
    probe = keras.models.clone_model(original, input_tensors=layers.Input((256, 256, 3)), clone_function=_same_padding)
    positions = _last_by_size(probe)
    encoder = keras.models.clone_model(original, clone_function=_same_padding)
    encoder.set_weights(original.get_weights())
    features = keras.Model(encoder.inputs, [encoder.layers[position].output for position in positions], name="encoder")
    return [inputs, *features(inputs)]


ENCODERS: dict[Encoder, Callable[[NetworkConfig, Any], list[Any]]] = {
    Encoder.INCEPTION_RESNET_V2: _inception_resnet_v2,
    Encoder.COMPACT: _compact,
}
"""Each makes features from the largest size to the smallest; every size is half the one before."""


def build_unet(config: NetworkConfig) -> Any:
    """The network: input (n, row, column, 3); outputs ``levels`` (n, row, column, 8), ``fracture`` (n, row, column, 1).

    ``levels`` is a softmax over background and C1 to C7, ``fracture`` a sigmoid. Raises ValueError when decoder and
    encoder do not fit or pretrained weights cannot be had.
    """
    inputs = keras.Input((config.height, config.width, 3), name="slices")
    features = ENCODERS[Encoder(config.encoder)](config, inputs)
    if len(config.decoder) != len(features) - 1:
        raise ValueError(
            f"encoder {config.encoder} needs {len(features) - 1} decoder stages, not {len(config.decoder)}"
        )
    tensor = features[-1]
    for depth, (channels, skip) in enumerate(zip(config.decoder, reversed(features[:-1]), strict=True)):
        tensor = layers.UpSampling2D(2, name=f"up{depth}")(tensor)
        tensor = layers.Concatenate(name=f"skip{depth}")([tensor, skip])
        tensor = _convolution(tensor, channels, f"decoder{depth}a")
        if depth < len(config.decoder) - 1:
            tensor = _convolution(tensor, channels, f"decoder{depth}b")
    levels = layers.Conv2D(LEVEL_CHANNELS, 1, activation="softmax", dtype="float32", name="levels")(tensor)
    fracture = layers.Conv2D(1, 1, activation="sigmoid", dtype="float32", name="fracture")(tensor)
    return keras.Model(inputs, {"levels": levels, "fracture": fracture}, name="cspine_unet")


def local_weights(path: Path) -> str:
    """The value of ``NetworkConfig.weights`` for a local weights file; raises ValueError when there is none."""
    if not path.is_file():
        raise ValueError(f"there is no weights file {path.name}")
    return str(path)
