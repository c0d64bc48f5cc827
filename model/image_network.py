"""The networks for single images: an encoder-decoder with two heads, and the two approaches that it is compared with.

All take standard images (n, row, column, 1) and give ``levels`` (n, 7; softmax over C1 to C7), ``fracture`` (n, 1;
sigmoid) and ``evidence`` (n, row', column', 1; a logit where the fracture is seen: the decoder's map, or the
class-activation map of Zhou et al. 2016). Only ``keras`` and its ``ops``-based layers are used.
"""

from typing import Any

import keras
from keras import layers, ops

from model.findings import Vertebra
from model.image_config import PRETRAINED, Approach, ImageNetworkConfig
from model.network import decoded

HIDDEN_UNITS = 64
DROPOUT = 0.3
SHARPNESS = 4.0
"""How far the pooled evidence leans from the mean (0) to the maximum (infinite) of the map."""


def build_image_network(config: ImageNetworkConfig) -> Any:
    """The network of an approach; raises ValueError when decoder and encoder do not fit."""
    inputs = keras.Input((config.rows, config.columns, 1), name="image")
    tensor = layers.Concatenate(name="gray_as_color")([inputs] * 3) if config.encoder in PRETRAINED else inputs
    stages = decoded(config.network, tensor)
    pooled = layers.GlobalAveragePooling2D(name="encoder_mean")(stages[0])
    if config.approach is Approach.ENCODER_DECODER:
        evidence, fracture, described = _decoder_head(stages, pooled)
    else:
        evidence, fracture, described = _classifier_head(stages[0], pooled)
    levels = layers.Dense(len(Vertebra), activation="softmax", dtype="float32", name="levels")(described)
    outputs = {"levels": levels, "fracture": fracture, "evidence": evidence}
    return keras.Model(inputs, outputs, name="cspine_image")


def _decoder_head(stages: list[Any], pooled: Any) -> tuple[Any, Any, Any]:
    """Evidence from the decoder's finest stage; the fracture is decided by its strongest place and the whole image."""
    evidence = layers.Conv2D(1, 1, dtype="float32", name="evidence")(stages[-1])
    strongest = ops.logsumexp(SHARPNESS * evidence, axis=(1, 2)) / SHARPNESS
    context = layers.GlobalAveragePooling2D(name="decoder_mean")(stages[-1])
    described = layers.Concatenate(name="described", dtype="float32")([pooled, context])
    hidden = layers.Dense(HIDDEN_UNITS, activation="relu", name="hidden")(layers.Dropout(DROPOUT)(described))
    heard = layers.Concatenate(name="heard", dtype="float32")([strongest, hidden])
    return evidence, layers.Dense(1, activation="sigmoid", dtype="float32", name="fracture")(heard), hidden


def _classifier_head(deep: Any, pooled: Any) -> tuple[Any, Any, Any]:
    """The fracture is the mean of its class-activation map over the deepest features."""
    evidence = layers.Conv2D(1, 1, dtype="float32", name="evidence")(deep)
    mean = layers.GlobalAveragePooling2D(name="evidence_mean")(evidence)
    hidden = layers.Dense(HIDDEN_UNITS, activation="relu", name="hidden")(layers.Dropout(DROPOUT)(pooled))
    return evidence, layers.Activation("sigmoid", dtype="float32", name="fracture")(mean), hidden


def build_feature_network(network: Any) -> Any:
    """From standard images to the encoder's pooled features (n, k) and its deepest maps (n, row, column, k)."""
    pooling = network.get_layer("encoder_mean")
    return keras.Model(network.inputs, {"features": pooling.output, "maps": pooling.input}, name="features")
