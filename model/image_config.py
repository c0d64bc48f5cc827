"""What an image network is built of, as settings: one of the source paper's three approaches. No Keras here."""

from dataclasses import dataclass
from enum import StrEnum

from model.network_config import DECODERS, Encoder, NetworkConfig


class Approach(StrEnum):
    """The approaches that the source paper compares."""

    ENCODER_DECODER = "encoder-decoder"
    CLASSIFIER = "transfer-learning classifier"
    CUSTOM_CNN = "custom CNN"


PRETRAINED = frozenset({Encoder.INCEPTION_RESNET_V2, Encoder.MOBILENET_V2})
"""Encoders that pretrained weights exist for; they take three channels."""


@dataclass(frozen=True, slots=True)
class ImageNetworkConfig:
    """What to build.

    ``weights`` of the encoder: None (random), "imagenet" or the path of a weights file. ``decoder``: channels of each
    stage upwards, for the encoder-decoder alone. Sizes of the image are multiples of 32.
    """

    approach: Approach = Approach.ENCODER_DECODER
    encoder: Encoder = Encoder.INCEPTION_RESNET_V2
    weights: str | None = None
    decoder: tuple[int, ...] = (256, 128, 64, 32)
    rows: int = 128
    columns: int = 128

    def __post_init__(self) -> None:
        if self.rows % 32 or self.columns % 32 or min(self.rows, self.columns) < 32:
            raise ValueError(f"images of {self.rows} x {self.columns} pixels: use multiples of 32")
        if (self.approach is Approach.CUSTOM_CNN) != (self.encoder is Encoder.CNN):
            raise ValueError("the approach custom CNN and the encoder cnn go together")
        if (self.approach is Approach.ENCODER_DECODER) != bool(self.decoder):
            raise ValueError("only the encoder-decoder has a decoder")

    @property
    def network(self) -> NetworkConfig:
        """The encoder and decoder, as the builders of U-Nets take them."""
        return NetworkConfig(self.encoder, self.weights, self.decoder, self.rows, self.columns)


def image_network_config(
    approach: Approach, encoder: Encoder, weights: str | None = None, rows: int = 128, columns: int = 128
) -> ImageNetworkConfig:
    """The usual network of an approach: a decoder up to half the image's size, the plain CNN for the custom one."""
    chosen = Encoder.CNN if approach is Approach.CUSTOM_CNN else encoder
    decoder = DECODERS[chosen][:-1] if approach is Approach.ENCODER_DECODER else ()
    return ImageNetworkConfig(approach, chosen, weights if chosen in PRETRAINED else None, decoder, rows, columns)
