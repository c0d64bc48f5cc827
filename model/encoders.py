"""The encoders of the project's U-Nets: what a network is built on, and features at every size, taken by structure.

Only ``keras`` and its ``ops``-based layers are used, so that it runs on every Keras backend.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

from model.network_config import Encoder, NetworkConfig

COMPACT_CHANNELS = (16, 32, 48, 64, 96)
CNN_CHANNELS = (32, 64, 128, 128, 128)


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


def _last_by_stride(network: Any) -> list[int]:
    """Positions of the last layers of each stride from two on, finest first: by structure, not by names.

    What only pads a border makes no features.
    """
    strides = {id(tensor): 1 for tensor in network.inputs}
    last: dict[int, int] = {}
    for position, layer in enumerate(network.layers):
        if position == 0:
            continue
        before = layer.input[0] if isinstance(layer.input, list) else layer.input
        stride = strides[id(before)] * getattr(layer, "strides", (1,))[0]
        strides[id(layer.output)] = stride
        if not isinstance(layer, layers.ZeroPadding2D):
            last[stride] = position
    return [last[stride] for stride in sorted(last) if stride > 1]


def _application(original: Any, clone: Callable[[Any], Any]) -> Any:
    """The encoder of ``keras.applications`` as a model of its features at half size down to a thirty-second."""
    encoder = keras.models.clone_model(original, clone_function=clone)
    encoder.set_weights(original.get_weights())
    features = [encoder.layers[position].output for position in _last_by_stride(encoder)]
    return keras.Model(encoder.inputs, features, name="encoder")


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
