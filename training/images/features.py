"""Feature extraction: what an encoder sees in images, exported as arrays and tables, and drawn.

Features are the encoder's deepest maps, averaged over the image: of a trained bundle, or of a pretrained encoder as it
is. They are drawn as the two directions in which they differ most (principal components), and as maps of one image.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from model.findings import Vertebra
from model.image_bundle import load_image_bundle
from model.image_config import PRETRAINED, Approach, image_network_config
from model.image_preprocess import network_input
from model.network_config import Encoder, local_weights
from training.config import ConfigError, save_config
from training.images.prepared_images import PreparedImage, PreparedImages, read_index

BATCH = 32
ARRAYS_FILE, TABLE_FILE = "features.npz", "features.csv"
SCATTER_FILE, MAPS_FILE = "features.png", "feature-maps.png"
MAPS = 16

Features = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FeaturesConfig:
    """Settings of ``python -m training images features``."""

    prepared: Annotated[Path, Field(description="Folder of `images prepare`")]
    output: Annotated[Path, Field(description="Folder for features, tables and pictures")]
    bundle: Annotated[Path | None, Field(description="Image bundle whose encoder is used")] = None
    encoder: Annotated[Encoder, Field(description="Encoder where no bundle is given")] = Encoder.INCEPTION_RESNET_V2
    weights: Annotated[str, Field(description='Its weights: "imagenet", "none" or a local file')] = "imagenet"


@dataclass(frozen=True, slots=True)
class Extracted:
    """Features (n, k) of images."""

    images: tuple[PreparedImage, ...]
    values: Features


def extract_features(config: FeaturesConfig) -> Extracted:
    """Extract, export and draw the features of all images of a prepared folder.

    Raises ``ConfigError`` for a missing weights file and ``DataSetError`` for a folder that is none.
    """
    prepared = read_index(config.prepared)
    network = feature_network(config, prepared)
    values = features_of(network, prepared)
    found = Extracted(prepared.images, values)
    config.output.mkdir(parents=True, exist_ok=True)
    save_config(config, config.output)
    write_arrays(found, config.output / ARRAYS_FILE)
    write_table(found, config.output / TABLE_FILE)
    draw_scatter(found, config.output / SCATTER_FILE)
    first = next((image for image in prepared.images if image.fractured), prepared.images[0])
    maps = network.predict_on_batch(network_input(prepared.pixels([first])))["maps"][0]
    draw_maps(prepared.pixels([first])[0], np.asarray(maps, dtype=np.float32), config.output / MAPS_FILE)
    return found


def feature_network(config: FeaturesConfig, prepared: PreparedImages) -> Any:
    """From standard images to features and maps."""
    from model.image_network import build_feature_network, build_image_network  # noqa: PLC0415 -- Keras is slow to import
    from model.image_predictor import load_image_network  # noqa: PLC0415 -- as above

    size = (prepared.preprocess.rows, prepared.preprocess.columns)
    if config.bundle is not None:
        bundle = load_image_bundle(config.bundle)
        if bundle.metadata.preprocess != prepared.preprocess:
            raise ConfigError(f"{config.prepared} was prepared with other settings than bundle {bundle.name} has")
        return build_feature_network(load_image_network(bundle))
    weights: str | None = None if config.weights == "none" or config.encoder not in PRETRAINED else config.weights
    try:
        if weights not in {None, "imagenet"}:
            weights = local_weights(Path(config.weights))
    except ValueError as error:
        raise ConfigError(f"weights: {error}") from error
    approach = Approach.CUSTOM_CNN if config.encoder is Encoder.CNN else Approach.CLASSIFIER
    return build_feature_network(build_image_network(image_network_config(approach, config.encoder, weights, *size)))


def features_of(network: Any, prepared: PreparedImages) -> Features:
    """Features (n, k) of all images."""
    parts = []
    for first in range(0, len(prepared.images), BATCH):
        pixels = prepared.pixels(prepared.images[first : first + BATCH])
        parts.append(np.asarray(network.predict_on_batch(network_input(pixels))["features"], dtype=np.float32))
    return np.concatenate(parts)


def write_arrays(found: Extracted, path: Path) -> None:
    """Features and labels as arrays: ``values`` (n, k), ``level`` (0 unknown), ``fractured`` (-1 unknown), names."""
    np.savez_compressed(
        path,
        values=found.values,
        name=np.array([image.name for image in found.images]),
        split=np.array([str(image.split) for image in found.images]),
        level=np.array([int(image.level or 0) for image in found.images], dtype=np.int8),
        fractured=np.array([_fractured(image) for image in found.images], dtype=np.int8),
    )


def write_table(found: Extracted, path: Path) -> None:
    """Features and labels as CSV, one row an image."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["name", "split", "level", "fractured", *(f"f{k}" for k in range(found.values.shape[1]))])
        for image, values in zip(found.images, found.values, strict=True):
            level = image.level.name if image.level else ""
            rows.writerow([image.name, image.split, level, _fractured(image), *(f"{value:.6g}" for value in values)])


def _fractured(image: PreparedImage) -> int:
    return -1 if image.fractured is None else int(image.fractured)


def principal_components(values: Features, count: int = 2) -> tuple[Features, NDArray[np.float64]]:
    """The scores (n, count) along the directions of largest variance, and the share of variance of each."""
    centred = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    shares = sizes**2 / max(float((sizes**2).sum()), 1e-12)
    return np.asarray(left[:, :count] * sizes[:count], dtype=np.float32), shares[:count]


def draw_scatter(found: Extracted, path: Path) -> None:
    """Draw the first two principal components: a color for each level, a cross for each fractured image."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 -- slow to import
    from matplotlib.figure import Figure  # noqa: PLC0415 -- as above

    scores, shares = principal_components(found.values)
    figure = Figure(figsize=(8, 6), layout="constrained")
    FigureCanvasAgg(figure)
    pane = figure.subplots()
    levels: Sequence[Vertebra | None] = [*Vertebra, None]
    for number, level in enumerate(levels):
        for fractured, marker in ((True, "x"), (False, "o"), (None, ".")):
            chosen = np.array([one.level == level and one.fractured is fractured for one in found.images])
            if chosen.any():
                color = f"C{number}" if level else "gray"
                said = {True: "fractured", False: "normal", None: "unknown"}[fractured]
                label = f"{level.name if level else 'no level'}, {said}"
                pane.scatter(scores[chosen, 0], scores[chosen, 1], marker=marker, color=color, s=18, label=label)
    pane.set_xlabel(f"first component ({shares[0]:.0%} of the variance)")
    pane.set_ylabel(f"second component ({shares[1]:.0%})" if len(shares) > 1 else "")
    pane.legend(fontsize=7, ncols=2)
    figure.savefig(path, dpi=110)


def draw_maps(pixels: NDArray[np.uint8], maps: Features, path: Path) -> None:
    """Draw an image and its most varied feature maps (row, column, k)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 -- slow to import
    from matplotlib.figure import Figure  # noqa: PLC0415 -- as above

    chosen = np.argsort(-maps.std(axis=(0, 1)))[: MAPS - 1]
    figure = Figure(figsize=(8, 8), layout="constrained")
    FigureCanvasAgg(figure)
    panes = figure.subplots(4, MAPS // 4).ravel()
    for pane in panes:
        pane.set_axis_off()
    panes[0].imshow(pixels, cmap="gray")
    panes[0].set_title("image", fontsize=8)
    for pane, number in zip(panes[1:], chosen, strict=False):
        pane.imshow(maps[:, :, number], cmap="viridis")
        pane.set_title(f"feature {number}", fontsize=8)
    figure.savefig(path, dpi=110)
