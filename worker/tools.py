"""Builds what an analysis needs, bundle, network, device and limits, for the GPU worker and ``cspine analyze``."""

import math
import os
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from dicom_node.reading import ReadingLimits
from model.bundle import Bundle
from worker.destination_file import read_destinations
from worker.destinations import profiles_of
from worker.devices import device_of
from worker.pipeline import AnalysisTools
from worker.settings import Settings

if TYPE_CHECKING:
    from model.predictor import Predictor


def build_tools(settings: Settings, bundle: Bundle, before_batch: Callable[[], None] | None = None) -> AnalysisTools:
    """Load a bundle's networks and warm them up; raises ``BundleError`` when they are not as they should be.

    ``before_batch`` is called before each batch of slices. Keras is imported here and nowhere before: the parent of a
    pool must never load it.
    """
    predictor = _predictor(settings, bundle, before_batch)
    limits = ReadingLimits(
        address_space_bytes=settings.reading_memory_bytes,
        cpu_seconds=math.ceil(settings.reading_seconds),
        wall_seconds=2 * settings.reading_seconds,
        voxels=settings.reading_voxels,
    )
    return AnalysisTools(
        predictor=predictor,
        bundle=bundle,
        device=device_of(settings),
        limits=limits,
        now=lambda: datetime.now().astimezone(),  # the site's local time, as the scanner's objects have it
        profiles=profiles_of(read_destinations(settings)),
    )


def probe_bundle(settings: Settings, bundle: Bundle) -> None:
    """Raise ``BundleError`` unless the bundle's networks load in this process and answer a small volume with numbers.

    On the CPU: the workers have the GPU.
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    predictor = _predictor(settings, bundle, None)
    from model.probe import check_answers  # noqa: PLC0415  (Keras)

    check_answers(predictor)


def _predictor(settings: Settings, bundle: Bundle, before_batch: Callable[[], None] | None) -> "Predictor":
    """The bundle's networks in memory."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    from model.engine import Runtime  # noqa: PLC0415
    from model.predictor import Predictor  # noqa: PLC0415  (512 MB and seconds)

    runtime = None if settings.runtime == "auto" else Runtime(settings.runtime)
    return Predictor(bundle, runtime, before_batch)
