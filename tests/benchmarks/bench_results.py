"""All result objects of one study of 300 and of 600 slices beside highdicom's one BINARY call and their physical size.

Both are made in turns in this one run, from the same mask and the same headers; what counts is the median of the ratios
of the same round. ``make bench ARGS="-k results"`` prints it. Time never fails it.
"""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import highdicom
import numpy as np
import pytest
from highdicom.seg import Segmentation, SegmentationTypeValues, SegmentDescription
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from dicom_node import codes
from dicom_node.encode import encode
from dicom_node.node import Device
from dicom_node.result_context import ResultContext
from dicom_node.results import build_results
from dicom_node.series import CTSeries, Placement
from model.findings import StudyFindings, Vertebra, VertebraFinding
from tests.dicom_node.small_series import sanitized
from training.synthesis.phantom_series import SeriesOptions, make_series, native_volume

SIDE = 512
SLICES = (300, 600)
ROUNDS = 5
PIXEL_MM = 0.35
FIELD_OF_VIEW_MM = 200.0
FILLED = 0.6
"""Share of the slices that the levels fill."""
KIB = 1024
SUMMARY_BYTES = 1024 * 1024 * 3


def neck(slices: int) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """HU, levels, the fracture of C5 and its activation: seven bodies with arches in a neck of 512 x 512 pixels.

    As in a real neck the levels fill six tenths of the slices, and most slices show two of them.
    """
    height = FILLED * slices / len(Vertebra)
    z, y, x = np.ogrid[:slices, :SIDE, :SIDE]
    labels = np.zeros((slices, SIDE, SIDE), np.uint8)
    middles = {level: (1 - FILLED) / 2 * slices + height * (level - 0.5) for level in Vertebra}
    for level, middle in middles.items():
        off_z = ((z - middle) / (0.8 * height)) ** 2
        body = off_z + ((y - 200) / 24) ** 2 + ((x - 256) / 32) ** 2
        arch = off_z + ((y - 265) / 45) ** 2 + ((x - 256) / 60) ** 2
        canal = ((y - 250) / 22) ** 2 + ((x - 256) / 30) ** 2
        labels[((body < 1) | ((arch < 1) & (canal > 1))) & (labels == 0)] = level
    off = ((z - middles[Vertebra.C5]) / (0.2 * height)) ** 2 + ((y - 195) / 12) ** 2 + ((x - 262) / 16) ** 2
    lesions = np.where((off < 1) & (labels == Vertebra.C5), np.uint8(Vertebra.C5), np.uint8(0))
    activation = np.rint(255 * np.exp(-off / 2)).astype(np.uint8)
    hu = np.full(labels.shape, -1000, np.int16)
    hu[:, 80:400, 90:420] = 40
    hu[labels > 0] = 500
    hu += np.random.default_rng(1).integers(-30, 30, hu.shape, dtype=np.int16)
    return hu, labels, lesions, activation


def context_of(slices: int) -> ResultContext:
    """A study as the worker hands it to the results."""
    hu, labels, lesions, activation = neck(slices)
    spacing = (FIELD_OF_VIEW_MM / slices, PIXEL_MM, PIXEL_MM)
    headers = tuple(sanitized(dataset) for dataset in make_series(hu[:, :8, :8], spacing, SeriesOptions()))
    for header in headers:
        header.Rows = header.Columns = SIDE
    volume = native_volume(hu, spacing, SeriesOptions())
    every = tuple(range(slices))
    placement = Placement(volume.get_geometry(), every, (0,) * slices, (0,) * slices)
    series = CTSeries(np.ascontiguousarray(volume.array), placement, headers, headers[0].SeriesInstanceUID, "1.2")
    findings = tuple(VertebraFinding(level, 0.1 * level, level is Vertebra.C5, 9000.0) for level in Vertebra)
    return ResultContext(
        series,
        series.mask_to_native(labels),
        StudyFindings(findings, 0.7, 0.5),
        Device.create("1.0", "BENCH"),
        "bench",
        "1",
        "0" * 64,
        datetime(2026, 1, 2, tzinfo=UTC),
        lesions=series.mask_to_native(lesions),
        activation=series.mask_to_native(activation),
    )


def one_call(context: ResultContext) -> Dataset:
    """What everybody writes: highdicom's BINARY segmentation of the same mask, nothing else."""
    algorithm = highdicom.AlgorithmIdentificationSequence("bench", codes.ARTIFICIAL_INTELLIGENCE, "1")
    return Segmentation(
        source_images=list(context.series.headers),
        pixel_array=context.labels,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[
            SegmentDescription(
                level, level.name, codes.ANATOMICAL_STRUCTURE, codes.VERTEBRA[level], "AUTOMATIC", algorithm
            )
            for level in Vertebra
        ],
        series_instance_uid=generate_uid(),
        series_number=1,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="bench",
        manufacturer_model_name="bench",
        software_versions="1",
        device_serial_number="1",
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of processor time."""
    started, spent = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - spent


def measured(slices: int) -> list[str]:
    """The lines of one study."""
    context = context_of(slices)
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    for number in range(ROUNDS):
        fresh = replace(context)  # nothing of an earlier round is known
        works = [(ours, lambda c=fresh: build_results(c)), (theirs, lambda: one_call(context))]
        for seconds, work in works if number % 2 else reversed(works):
            seconds.append(timed(work))
    by_clock, by_processor = (
        [here[kind] / there[kind] for here, there in zip(ours, theirs, strict=True)] for kind in (0, 1)
    )
    middle = [statistics.median(clock for clock, _ in seconds) for seconds in (ours, theirs)]
    results = build_results(context)
    sizes = {result.variant: len(encode(result.dataset)) for result in results}
    frames = next(int(result.dataset.NumberOfFrames) for result in results if result.variant == "segmentation")
    physical = frames * SIDE * SIDE // 8 + SUMMARY_BYTES
    parts = ", ".join(f"{name} {size / KIB:.1f}" for name, size in sizes.items())
    time_line = (
        f"  {slices} slices, {frames} frames: all default objects {middle[0]:.2f} s, the one call {middle[1]:.2f} s:"
        f" {statistics.median(by_clock):.2f} x its time ({min(by_clock):.2f} to {max(by_clock):.2f}, {ROUNDS} rounds;"
        f" goal <= 1.3), {statistics.median(by_processor):.2f} x its processor time"
    )
    size_line = (
        f"    {sum(sizes.values()) / physical:.3f} x the {physical / KIB:.0f} KiB of their pixels (goal <= 1.1);"
        f" in KiB: {parts} (goal <= 98 for the report)"
    )
    return [time_line, size_line]


@pytest.mark.timeout(1800)
def test_results(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line for slices in SLICES for line in measured(slices)]
    with capsys.disabled():
        print(  # noqa: T201  (a benchmark prints)
            f"\nresults of the default profile on {len(os.sched_getaffinity(0))} cores"
            f" (load {os.getloadavg()[0]:.1f}):\n" + "\n".join(lines)
        )
