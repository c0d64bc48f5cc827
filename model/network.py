"""The project's U-Nets: a level network, and a fracture network whose slices are pooled by attention.

Only ``keras`` and its ``ops``-based layers are used, so that it runs on every Keras backend.
"""

from dataclasses import dataclass
from typing import Any

import keras
from keras import layers, ops

from model.encoders import ENCODERS, convolution
from model.network_config import STRIDES, Encoder, NetworkConfig

LEVEL_CHANNELS = 8
"""Background and C1 to C7."""
ATTENTION_UNITS = 32


def decoded(config: NetworkConfig, inputs: Any) -> list[Any]:
    """The encoder's deepest features, then the decoder's at every stage, finer and finer; ValueError if unfit."""
    features = ENCODERS[Encoder(config.encoder)](config, inputs)
    if len(config.decoder) > len(features) - 1:
        raise ValueError(
            f"encoder {config.encoder} needs at most {len(features) - 1} decoder stages, not {len(config.decoder)}"
        )
    stages = [features[-1]]
    for depth, (channels, skip) in enumerate(zip(config.decoder, reversed(features[:-1]), strict=False)):
        tensor = layers.UpSampling2D(2, name=f"up{depth}")(stages[-1])
        tensor = layers.Concatenate(name=f"skip{depth}")([tensor, skip])
        tensor = convolution(tensor, channels, f"decoder{depth}a")
        if depth < len(config.decoder) - 1:
            tensor = convolution(tensor, channels, f"decoder{depth}b")
        stages.append(tensor)
    return stages


def build_unet(config: NetworkConfig) -> Any:
    """The level network: sagittal slices (n, row, column, 3) to ``levels`` (n, row, column, 8).

    ``levels`` is a softmax over background and C1 to C7. Raises ValueError when decoder and encoder do not fit or
    pretrained weights cannot be had.
    """
    inputs = keras.Input((config.height, config.width, 3), name="slices")
    tensor = decoded(config, inputs)[-1]
    levels = layers.Conv2D(LEVEL_CHANNELS, 1, activation="softmax", dtype="float32", name="levels")(tensor)
    return keras.Model(inputs, {"levels": levels}, name="cspine_levels")


@dataclass(frozen=True, slots=True)
class FractureNetwork:
    """The fracture network in two parts that share one training.

    ``slices``: crop slices (n, row, column, 4) to ``mask`` (n, row', column', 1), ``features`` (n, k), ``activation``
    (n, row'', column'', 1; the class-activation map of Zhou et al. 2016) and ``evidence`` (n, 1; its mean, a logit).
    ``pooling``: features of one vertebra's slices (n, slice, k) to its fracture probability (n, 1), by gated attention
    (Ilse et al. 2018) over any number of slices.
    """

    slices: Any
    pooling: Any

    def get_weights(self) -> list[Any]:
        """All weights, those of the slices first."""
        return [*self.slices.get_weights(), *self.pooling.get_weights()]

    def set_weights(self, weights: list[Any]) -> None:
        """Set all weights; ValueError when they do not fit."""
        count = len(self.slices.weights)
        self.slices.set_weights(weights[:count])
        self.pooling.set_weights(weights[count:])


def build_fracture_network(config: NetworkConfig, channels: int = 4) -> FractureNetwork:
    """The fracture network; ``height`` and ``width`` of the configuration are the crop's, or None.

    A crop that is no multiple of the encoder's stride is filled up with water; a mask as fine as the crop is cut back.
    """
    inputs = keras.Input((config.height, config.width, channels), name="crops")
    filling = [-(size or 0) % STRIDES.get(Encoder(config.encoder), 32) for size in (config.height, config.width)]
    sides = tuple((count // 2, count - count // 2) for count in filling)
    stages = decoded(config, layers.ZeroPadding2D(sides, name="filled")(inputs) if any(filling) else inputs)
    mask = layers.Conv2D(1, 1, activation="sigmoid", dtype="float32", name="mask")(stages[-1])
    if any(filling) and mask.shape[1] == (config.height or 0) + filling[0]:
        mask = layers.Cropping2D(sides, name="cut_back")(mask)
    deep = stages[min(1, len(stages) - 1)]
    activation = layers.Conv2D(1, 1, use_bias=False, dtype="float32", name="activation")(deep)
    evidence = layers.GlobalAveragePooling2D(name="evidence")(activation)
    smooth = layers.AveragePooling2D(3, strides=1, padding="same", name="smooth")(mask)
    features = layers.Concatenate(name="features", dtype="float32")(
        [
            layers.GlobalAveragePooling2D(name="encoder_mean")(stages[0]),
            layers.GlobalAveragePooling2D(name="decoder_mean")(deep),
            evidence,
            layers.GlobalMaxPooling2D(name="mask_top")(smooth),
        ]
    )
    outputs = {"mask": mask, "features": features, "activation": activation, "evidence": evidence}
    return FractureNetwork(keras.Model(inputs, outputs, name="slices"), _attention(int(features.shape[-1])))


def _attention(size: int) -> Any:
    """Gated attention over a sequence of features; the strongest mask of any slice is heard beside the average."""
    inputs = keras.Input((None, size), name="features")
    normal = layers.LayerNormalization(name="normal")(inputs)
    content = layers.Dense(ATTENTION_UNITS, activation="tanh", name="content")(normal)
    gate = layers.Dense(ATTENTION_UNITS, activation="sigmoid", name="gate")(normal)
    score = layers.Dense(1, name="score")(content * gate)
    likelihood = ops.exp(score - ops.max(score, axis=1, keepdims=True))
    weight = likelihood / ops.sum(likelihood, axis=1, keepdims=True)
    pooled = ops.sum(weight * normal, axis=1)
    strongest = ops.max(inputs[:, :, -1:], axis=1)
    mean_top = ops.mean(inputs[:, :, -1:], axis=1)
    heard = layers.Concatenate(name="heard")([pooled, strongest, mean_top])
    hidden = layers.Dense(ATTENTION_UNITS, activation="relu", name="hidden")(heard)
    fracture = layers.Dense(1, activation="sigmoid", dtype="float32", name="fracture")(hidden)
    return keras.Model(inputs, fracture, name="pooling")


def sequence_network(network: FractureNetwork, slices: int, shape: tuple[int, int, int]) -> Any:
    """What is trained: crops (n, slice, row, column, channel) of a fixed number of slices to all that has a truth.

    Outputs ``mask`` (n, slice, row', column', 1), ``slice`` (n, slice; logit) and ``fracture`` (n, 1).
    """
    inputs = keras.Input((slices, *shape), name="crops")
    answer = network.slices(ops.reshape(inputs, (-1, *shape)))
    size = (int(answer["mask"].shape[1]), int(answer["mask"].shape[2]))
    mask = ops.reshape(answer["mask"], (-1, slices, *size, 1))
    features = ops.reshape(answer["features"], (-1, slices, int(answer["features"].shape[-1])))
    evidence = ops.reshape(answer["evidence"], (-1, slices))
    outputs = {"mask": mask, "slice": evidence, "fracture": network.pooling(features)}
    return keras.Model(inputs, outputs, name="sequence")
