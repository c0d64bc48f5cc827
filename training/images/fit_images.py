"""Training of the image networks: what they are built of, compiled with and fed; the loop is ``training.fitting.loop``.

The recipe ``paper`` is the source paper's: a pretrained InceptionResNetV2 that is kept as it is first and then
fine-tuned, stochastic gradient descent, binary cross-entropy.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras

from model.image_config import Approach, ImageNetworkConfig
from model.image_network import build_image_network
from model.image_preprocess import IMAGE_PREPROCESS_VERSION
from model.network_config import Encoder
from training.datasets.studies import DataSetError
from training.fitting.checkpoint import BEST_FILE, WEIGHTS_FILE
from training.fitting.devices import computing
from training.fitting.fit_config import FitConfig
from training.fitting.loop import RECORD_FILE, Training, recorded, train
from training.fitting.recipes import Phase, Recipe, freeze_encoder
from training.fitting.start import load_start
from training.images import image_losses
from training.images.image_batches import ImageAugmentation, image_source
from training.images.image_fit_config import FitImagesConfig
from training.images.image_transfer import Transferred, transfer_bundle
from training.images.prepared_images import PreparedImages, read_index
from training.preparation.prepared import Split

MOST_VALIDATION_BATCHES = 60
EVIDENCE_WEIGHT = 0.5
SETTINGS = ("image_network", "image_preprocess", "data", "augmentation", "mask_shape", "transfer")
"""What of a run's record its result depends on besides."""


@dataclass(frozen=True, slots=True)
class ImageRun:
    """A run that was trained: its network with the best weights, and what was recorded of it."""

    config: ImageNetworkConfig
    network: Any
    record: dict[str, Any]


def fit_images(config: FitImagesConfig) -> Path:
    """Train an image network, or go on with the run in ``output``; returns the file of the last weights.

    Raises ``DataSetError``, ``ConfigError``, ``FeedError`` and ``TrainingStopped``.
    """
    prepared = read_index(config.prepared)
    validated = len(prepared.of(Split.VALIDATION))
    network_config = config.network(prepared.preprocess)
    fit = config.fit(network_config, min(MOST_VALIDATION_BATCHES, -(-validated // config.batch)))
    augmentation = ImageAugmentation() if config.augment else None
    with computing(fit) as devices:
        network = build_image_network(network_config)
        transferred = _transferred(config, network)
        rows, columns = network.output["evidence"].shape[1:3]
        mask_shape = (int(rows), int(columns)) if config.masks and prepared.masked else None
        draw = (config.batch, config.seed)
        validation = image_source(config.prepared, Split.VALIDATION, *draw, None, mask_shape)
        described = _described(network_config)
        data = data_record(prepared)
        record = {
            "stage": "images",
            "image_network": described,
            "image_preprocess": IMAGE_PREPROCESS_VERSION,
            "data": data,
            "augmentation": asdict(augmentation) if augmentation else None,
            "mask_shape": list(mask_shape) if mask_shape else None,
            "devices": devices,
            "transfer": transferred.as_json() if transferred else None,
        }
        return train(
            Training(
                fit,
                network,
                partial(compile_images, fit, masked=mask_shape is not None),
                partial(_begin, config),
                partial(image_source, config.prepared, Split.TRAIN, *draw, augmentation, mask_shape),
                tuple(validation(place) for place in range(fit.validation_batches)),
                record,
                {"fit": recorded(fit)} | {name: record[name] for name in SETTINGS},
            )
        )


def compile_images(config: FitConfig, network: Any, phase: Phase, *, masked: bool = False) -> None:
    """Make an image network ready for a phase; ``masked``: its map of evidence has a truth too."""
    freeze_encoder(network, frozen=phase.frozen)
    if config.recipe is Recipe.PAPER:
        optimizer, levels = keras.optimizers.SGD(phase.learning_rate, momentum=0.9), image_losses.paper_image_level_loss
    else:
        optimizer = keras.optimizers.Adam(phase.learning_rate, clipnorm=1.0)
        levels = image_losses.image_level_loss
    losses: dict[str, Any] = {"levels": levels, "fracture": image_losses.image_fracture_loss}
    if masked:
        losses["evidence"] = image_losses.image_evidence_loss
    weights = {name: EVIDENCE_WEIGHT if name == "evidence" else 1.0 for name in losses}
    network.compile(optimizer=optimizer, loss=losses, loss_weights=weights)


def data_record(prepared: PreparedImages) -> dict[str, Any]:
    """What a run tells of its data: counts of each split, and a hash of which image is in which."""
    lines = sorted(f"{one.name} {one.split} {one.level} {one.fractured}\n" for one in prepared.images)
    return {
        "name": prepared.data,
        "synthetic": prepared.synthetic,
        "images": {str(split): len(prepared.of(split)) for split in Split},
        "studies": {str(split): len({one.group for one in prepared.of(split)}) for split in Split},
        "augmented_copies": sum(one.copy for one in prepared.images),
        "masked": sum(one.masked for one in prepared.images),
        "split_sha256": hashlib.sha256("".join(lines).encode()).hexdigest(),
    }


def trained_images(folder: Path) -> ImageRun:
    """The network of a run with its best weights (else the last); ``DataSetError`` where there is none."""
    try:
        record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
        told = record["image_network"]
        config = ImageNetworkConfig(
            Approach(told["approach"]),
            Encoder(told["encoder"]),
            decoder=tuple(told["decoder"]),
            rows=told["rows"],
            columns=told["columns"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataSetError(f"{folder} holds no run of `python -m training images fit`") from error
    network = build_image_network(config)
    weights = folder / BEST_FILE
    network.load_weights(weights if weights.is_file() else folder / WEIGHTS_FILE)
    return ImageRun(config, network, record)


def _described(config: ImageNetworkConfig) -> dict[str, Any]:
    """The network as plain values; a weights file is of this machine and named in no record."""
    return {
        "approach": str(config.approach),
        "encoder": str(config.encoder),
        "decoder": list(config.decoder),
        "rows": config.rows,
        "columns": config.columns,
    }


def _transferred(config: FitImagesConfig, network: Any) -> Transferred | None:
    """Begin with layers of a volume bundle, if that is wished; a run that goes on reads its own over them."""
    if config.transfer == "none" and config.transfer_bundle is None:
        return None
    return transfer_bundle(network, config.transfer_bundle)


def _begin(config: FitImagesConfig, network: Any) -> None:
    """What a new run begins with besides."""
    if config.start is not None:
        load_start(network, config.start)
