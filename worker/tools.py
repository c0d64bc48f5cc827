"""Builds what an analysis needs, bundle, network, device and limits, for the GPU worker and ``cspine analyze``."""

import math
import os
from datetime import datetime

from dicom_node.reading import ReadingLimits
from model.bundle import load_bundle
from worker.destination_file import read_destinations
from worker.destinations import profiles_of
from worker.devices import device_of
from worker.pipeline import AnalysisTools
from worker.settings import Settings


def build_tools(settings: Settings) -> AnalysisTools:
    """Load the settings' bundle and warm its network up; raises ``BundleError`` when it is not as it should be.

    Keras is imported here and nowhere before: the parent of a pool must never load it.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    from model.engine import Runtime  # noqa: PLC0415
    from model.predictor import Predictor  # noqa: PLC0415  (512 MB and seconds)

    bundle = load_bundle(settings.bundle_path)
    runtime = None if settings.runtime == "auto" else Runtime(settings.runtime)
    limits = ReadingLimits(
        address_space_bytes=settings.reading_memory_bytes,
        cpu_seconds=math.ceil(settings.reading_seconds),
        wall_seconds=2 * settings.reading_seconds,
        voxels=settings.reading_voxels,
    )
    return AnalysisTools(
        predictor=Predictor(bundle, runtime),
        bundle=bundle,
        device=device_of(settings),
        limits=limits,
        now=lambda: datetime.now().astimezone(),  # the site's local time, as the scanner's objects have it
        profiles=profiles_of(read_destinations(settings)),
    )
