"""What a network is built of, as settings: encoder, weights, decoder. No Keras here, so that commands start at once."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


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


def local_weights(path: Path) -> str:
    """The value of ``NetworkConfig.weights`` for a local weights file; raises ValueError when there is none."""
    if not path.is_file():
        raise ValueError(f"there is no weights file {path.name}")
    return str(path)
