"""What `python -m training compare` sets against each other: encoders and recipes for the two networks."""

from dataclasses import dataclass

from model.network_config import Encoder
from training.fitting.recipes import Recipe


@dataclass(frozen=True, slots=True)
class Contender:
    """One row of the table; ``names_levels``: whether it has a level network (the plain CNN only classifies)."""

    name: str
    encoder: Encoder
    recipe: Recipe
    learning_rate: float
    names_levels: bool = True


CONTENDERS = (
    Contender("InceptionResNetV2 U-Net, SGD + BCE (paper)", Encoder.INCEPTION_RESNET_V2, Recipe.PAPER, 0.01),
    Contender("InceptionResNetV2 U-Net, Adam + Dice", Encoder.INCEPTION_RESNET_V2, Recipe.DICE, 1e-3),
    Contender("MobileNetV2 U-Net, Adam + Dice", Encoder.MOBILENET_V2, Recipe.DICE, 2e-3),
    Contender("compact U-Net, Adam + Dice", Encoder.COMPACT, Recipe.DICE, 2e-3),
    Contender("custom CNN, SGD + BCE (paper)", Encoder.CNN, Recipe.PAPER, 0.01, names_levels=False),
)
