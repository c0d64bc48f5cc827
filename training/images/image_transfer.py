"""Transfer learning from our own networks: an image network begins with the layers of a bundle's fracture network.

What ImageNet weights are for the encoders of ``keras.applications``, these are for the project's own: trained on many
thousand crops of vertebrae, by layers of the same names.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.bundle import load_bundle
from model.image_preprocess import BONE_WIDTH_HU
from model.predictor import load_networks
from model.preprocess import HU_PER_UNIT

CROP_SLICES = 3
"""The first channels of a crop: three slices, which a single image stands for alone; the level's mask is unknown."""
SCALE = BONE_WIDTH_HU / 2 / HU_PER_UNIT
"""How much one unit of an image (half of the bone window) is in units of a crop; where zero lies is learned at once."""


@dataclass(frozen=True, slots=True)
class Transferred:
    """Where layers were taken from, and how many."""

    bundle: str
    sha256: str
    layers: int

    def as_json(self) -> dict[str, object]:
        """For the record of a run."""
        return {"bundle": self.bundle, "sha256": self.sha256, "layers": self.layers}


def transfer_bundle(network: Any, folder: Path | None) -> Transferred:
    """Begin with the layers of a bundle's fracture network (None: the embedded bundle's) that have a namesake.

    Raises ``BundleError``, and ValueError when no layer fits: the encoders must be the same.
    """
    bundle = load_bundle(folder)
    source = load_networks(bundle)[1].slices
    taken = sum(_take(layer, source) for layer in network.layers)
    if not taken:
        raise ValueError(f"no layer of bundle {bundle.name} fits: its encoder is {bundle.metadata.fractures.encoder}")
    return Transferred(bundle.name, bundle.sha256, taken)


def _take(layer: Any, source: Any) -> bool:
    """Give a layer its namesake's weights, if both are of one shape."""
    theirs: list[NDArray[np.float32]] = next(
        (other.get_weights() for other in source.layers if other.name == layer.name), []
    )
    ours = layer.get_weights()
    if not theirs or len(ours) != len(theirs):
        return False
    if ours[0].ndim == 4 and ours[0].shape[2] == 1 and theirs[0].shape[2] > CROP_SLICES:
        theirs = [_of_one_channel(theirs[0]), *theirs[1:]]
    if [values.shape for values in ours] != [values.shape for values in theirs]:
        return False
    layer.set_weights(theirs)
    return True


def _of_one_channel(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first kernel (row, column, channel, feature) for an image that stands for all three slices."""
    return np.asarray(SCALE * kernel[:, :, :CROP_SLICES].sum(axis=2, keepdims=True), dtype=np.float32)
