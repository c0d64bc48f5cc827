"""Training of both networks: what each is built of, compiled with and fed; the loop is ``training.fitting.loop``."""

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras

from model.network import build_fracture_network, build_unet, sequence_network
from model.network_config import NetworkConfig, network_of
from training.datasets.studies import DataSetError
from training.fitting import losses
from training.fitting.batches import CropData, Drawing, LevelData, crop_source, level_source, read_all
from training.fitting.devices import computing
from training.fitting.feed import Batch, Source
from training.fitting.fit_config import FitConfig
from training.fitting.loop import RECORD_FILE, Training, recorded, train
from training.fitting.provenance import data_record
from training.fitting.recipes import Phase, Recipe, freeze_encoder
from training.fitting.start import load_start, transfer_layers
from training.preparation.prepared import Split

logger = logging.getLogger(__name__)

CASES_FOLDER = "cases"
"""Synthetic cases of a run, until it is finished."""
CROPS_RECORD = "crops.json"


def _optimizer(config: FitConfig, phase: Phase) -> Any:
    if config.recipe is Recipe.PAPER:
        return keras.optimizers.SGD(phase.learning_rate, momentum=0.9)
    return keras.optimizers.Adam(phase.learning_rate, clipnorm=1.0)


def compile_levels(config: FitConfig, network: Any, phase: Phase) -> None:
    """Make a level network ready for a phase."""
    freeze_encoder(network, frozen=phase.frozen)
    loss = losses.paper_level_loss if config.recipe is Recipe.PAPER else losses.level_loss
    network.compile(optimizer=_optimizer(config, phase), loss={"levels": loss})


def compile_fractures(config: FitConfig, network: Any, phase: Phase) -> None:
    """Make a fracture network over sequences ready for a phase."""
    freeze_encoder(network, frozen=phase.frozen)
    mask = losses.paper_mask_loss if config.recipe is Recipe.PAPER else losses.fracture_mask_loss
    network.compile(
        optimizer=_optimizer(config, phase),
        loss={"mask": mask, "slice": losses.slice_loss, "fracture": losses.fracture_loss},
        loss_weights={"mask": 1.0, "slice": 0.5, "fracture": 1.0},
    )


def fractures_network(config: FitConfig, data: CropData) -> Any:
    """The fracture network over sequences of slices."""
    patch = data.sample.patch
    shape = (patch, patch) if patch else (data.crops.rows, data.crops.columns)
    settings = asdict(config.network) | {"height": shape[0], "width": shape[1]}
    return sequence_network(build_fracture_network(NetworkConfig(**settings)), data.sample.slices, (*shape, 4))


def compiled_levels(config: FitConfig) -> Any:
    """The level network, ready for its first phase."""
    network = build_unet(config.network)
    compile_levels(config, network, config.phases[0])
    return network


def compiled_fractures(config: FitConfig, data: CropData) -> Any:
    """The fracture network, ready for its first phase."""
    network = fractures_network(config, data)
    compile_fractures(config, network, config.phases[0])
    return network


def matched(data: CropData, network: Any) -> CropData:
    """The same crops with truth as fine as this network's mask."""
    rows, columns = network.output["mask"].shape[2:4]
    return replace(data, sample=replace(data.sample, mask_shape=(int(rows), int(columns))))


def fit_levels(config: FitConfig, data: LevelData | None = None) -> Path:
    """Train the level network; returns the file of the last weights, a record of the run lies beside it.

    Raises ``DataSetError``, ``FeedError`` and ``TrainingStopped``.
    """
    data = data or LevelData()
    if not config.resume:
        shutil.rmtree(config.output / CASES_FOLDER, ignore_errors=True)
    with computing(config) as devices:
        network = build_unet(config.network)
        drawing = Drawing(config.batch, config.seed, config.output / CASES_FOLDER)
        validated = data.prepared or data.validation_cases
        record = _record(config, "levels", devices, data) | {
            "cases": data.cases if data.synthetic_share or not data.prepared else 0,
            "atlas_share": data.atlas_share if data.atlas else 0.0,
            "slices": asdict(data.slices),
        }
        weights = train(
            Training(
                config,
                network,
                partial(compile_levels, config),
                partial(_begin, config),
                partial(level_source, data, drawing),
                _validation(partial(level_source, data), drawing, config.validation_batches if validated else 0),
                record,
                _settings(config, data, record),
            )
        )
    shutil.rmtree(config.output / CASES_FOLDER, ignore_errors=True)
    return weights


def fit_fractures(config: FitConfig, data: CropData) -> Path:
    """Train the fracture network on prepared crops; returns the file of the last weights.

    Raises ``DataSetError``, ``FeedError`` and ``TrainingStopped``.
    """
    with computing(config) as devices:
        network = fractures_network(config, data)
        data = matched(data, network)
        drawing = Drawing(config.batch, config.seed, config.output / CASES_FOLDER)
        validated = (data.prepared or data.validation_folders) and data.sample.patch is None
        record = _record(config, "fractures", devices, data) | {
            "crops": asdict(data.crops),
            "sample": asdict(data.sample),
        }
        return train(
            Training(
                config,
                network,
                partial(compile_fractures, config),
                partial(_begin, config),
                partial(crop_source, data, drawing),
                _validation(partial(crop_source, data), drawing, config.validation_batches if validated else 0),
                record,
                _settings(config, data, record),
            )
        )


def _begin(config: FitConfig, network: Any) -> None:
    """What a new run begins with: earlier weights, or the layers of a level network."""
    if config.start is not None:
        load_start(network, config.start)
    if config.transfer is not None:
        levels = build_unet(network_of("levels", config.network.encoder))
        transfer_layers(network.get_layer("slices"), levels, config.transfer)


def _validation(make: Callable[[Drawing], Source], drawing: Drawing, batches: int) -> tuple[Batch, ...]:
    """The batches of every validation, always the same."""
    if not batches:
        return ()
    source = make(replace(drawing, split=Split.VALIDATION))
    return tuple(source(place) for place in range(batches))


def _record(config: FitConfig, stage: str, devices: str, data: LevelData | CropData) -> dict[str, Any]:
    """What is told of a run from its beginning."""
    synthetic: list[object] = []
    if isinstance(data, CropData):
        synthetic = [_crops_record(folder) for folder in data.folders]
    elif data.synthetic_share or not data.prepared:
        synthetic = ["parametric phantom" + (" and SPL head and neck atlas" if data.atlas else "")]
    return {
        "stage": stage,
        "data": synthetic if isinstance(data, CropData) or not synthetic else synthetic[0],
        "prepared": data_record(read_all(data.prepared)),
        "synthetic_share": data.synthetic_share if data.prepared else 1.0,
        "devices": devices,
        "continues": _earlier(config.start),
    }


def _crops_record(folder: Path) -> object:
    try:
        return json.loads((folder / CROPS_RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataSetError(f"{folder} is no folder of `python -m training crops`: {CROPS_RECORD}: {error}") from error


def _settings(config: FitConfig, data: LevelData | CropData, record: Mapping[str, Any]) -> dict[str, Any]:
    """What a run depends on; it is gone on with only where all of this is as it was."""
    return {"fit": recorded(config), "data": asdict(data), "prepared": record["prepared"]}


def _earlier(start: Path | None) -> object:
    """What is recorded of the weights that a run began with: the record beside them, or else their name."""
    if start is None:
        return None
    record = start.parent / RECORD_FILE
    return json.loads(record.read_text(encoding="utf-8")) if record.is_file() else start.name
