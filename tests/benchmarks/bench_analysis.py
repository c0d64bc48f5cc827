"""One synthetic CT study of 300 slices of 512 x 512 on the CPU, from files to findings, and what that compares to.

Every ratio is made in this one run: to ``keras.Model.predict`` on whole slices, to a large matrix product on the same
cores, to the usual pydicom stack of slices, to pydicom's decoders. ``make bench ARGS="-k analysis"`` prints it all.
Time never fails it. The file itself, run with a folder, is the fresh process that is measured.
"""

import importlib
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from dicom_node import decoders
from dicom_node.frames import frames_of
from dicom_node.instance_file import read_instance
from dicom_node.pixels import write_hu
from dicom_node.reading import read_study
from tests.conftest import PROJECT
from training.synthesis.fractures import FractureKind, Vertebra
from training.synthesis.phantom import PhantomConfig, make_phantom
from training.synthesis.phantom_encoding import TransferSyntax
from training.synthesis.phantom_series import Encoding, SeriesOptions, write_series

SLICES, SIDE = 300, 512
FIELD_OF_VIEW_MM = (200.0, 190.0, 200.0)
SPACING_MM = (FIELD_OF_VIEW_MM[0] / SLICES, FIELD_OF_VIEW_MM[1] / SIDE, FIELD_OF_VIEW_MM[2] / SIDE)
SAMPLE = 4
"""Slices that plain predict is measured on; its seconds are scaled to all slices."""
COMPRESSED = 20
ROUNDS = 3
FLOOR_ROUNDS = 7
MATRIX = 2048
KIB_PER_MIB = 1024


def seconds_of(work: Callable[[], object]) -> float:
    """How long something takes once."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def processor_seconds_of(work: Callable[[], object]) -> float:
    """How much processor time something takes once, in this process and in children that it waits for."""

    def spent() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    started = spent()
    work()
    return spent() - started


def synthetic_neck() -> NDArray[np.int16]:
    """A phantom with a burst C5, made at 1 mm and interpolated: made at full size it takes minutes."""
    config = PhantomConfig(
        kinds={Vertebra.C5: FractureKind.BURST},
        spacing_mm=(1.0, 1.0, 1.0),
        field_of_view_mm=FIELD_OF_VIEW_MM,
        above_mm=95.0,
    )
    coarse = make_phantom(20220732, config).hu.astype(np.float32)
    wanted = np.array((SLICES, SIDE, SIDE)) / coarse.shape
    noise = np.random.default_rng(1).normal(0, 8, (SLICES, SIDE, SIDE)).astype(np.float32)
    return np.rint(ndimage.zoom(coarse, wanted, order=1) + noise).astype(np.int16)


class Watched:
    """An engine that remembers the seconds of its calls, and of each shape the last batch and how often it came."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.seconds = 0.0
        self.batches: dict[tuple[int, ...], Any] = {}
        self.calls = Counter[tuple[int, ...]]()

    def __call__(self, batch: Any) -> Any:
        started = time.perf_counter()
        answers = self.engine(batch)
        self.seconds += time.perf_counter() - started
        self.batches[batch.shape] = batch
        self.calls[batch.shape] += 1
        return answers


def operations(network: Any, shape: tuple[int, ...]) -> int:
    """Floating-point operations of one call: two for each weight of a convolution or dense layer and each output."""
    layers = importlib.import_module("keras").layers
    counted = 0

    def counting(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(layer: Any, *arguments: Any, **options: Any) -> Any:
            nonlocal counted
            outputs = original(layer, *arguments, **options)
            counted += 2 * math.prod(layer.kernel.shape) * math.prod(outputs.shape[:-1])
            return outputs

        return call

    with pytest.MonkeyPatch.context() as patch:
        for kind in (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense):
            patch.setattr(kind, "call", counting(kind.call))
        network(np.zeros((1, *shape[1:]), dtype=np.float32), training=False)
    return counted * shape[0]


def matrix_product() -> Callable[[], object]:
    """A large float32 matrix product on all cores: NumPy's or Keras's, whichever is faster here."""
    ops = importlib.import_module("keras").ops
    left = np.random.default_rng(0).random((MATRIX, MATRIX), dtype=np.float32)
    tensor = ops.convert_to_tensor(left)
    works: list[Callable[[], object]] = [lambda: left @ left, lambda: ops.convert_to_numpy(ops.matmul(tensor, tensor))]
    return min(works, key=lambda work: statistics.median(seconds_of(work) for _ in range(5)))


def compared(name: str, watched: Watched, network: Any, product: Callable[[], object]) -> list[dict[str, Any]]:
    """Each shape's floating-point speed beside that of the matrix product, measured in turns."""
    rows = []
    for shape, batch in watched.batches.items():
        counted = operations(network, shape)
        watched.engine(batch)
        pairs = [(seconds_of(lambda b=batch: watched.engine(b)), seconds_of(product)) for _ in range(FLOOR_ROUNDS)]
        speeds = [(counted / ours / 1e9, 2 * MATRIX**3 / floor / 1e9) for ours, floor in pairs]
        rows.append(
            {
                "name": f"{name} {'x'.join(map(str, shape))}",
                "gflop": counted * watched.calls[shape] / 1e9,
                "speed": statistics.median(ours for ours, _ in speeds),
                "floor": statistics.median(floor for _, floor in speeds),
                "share": statistics.median(ours / floor for ours, floor in speeds),
            }
        )
    return rows


def analyze(folder: Path) -> dict[str, Any]:
    """Measure one analysis in this process, which has done nothing else yet."""
    started = time.perf_counter()
    predictors = importlib.import_module("model.predictor")
    bundle = importlib.import_module("model.bundle").load_bundle()
    predictor = predictors.Predictor(bundle)
    levels, slices = Watched(predictor._levels), Watched(predictor._slices)
    predictor._levels, predictor._slices = levels, slices
    loaded = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        series = read_study(sorted(folder.iterdir()), Path(scratch)).series
        hu, spacing_mm = series.to_standard()
        decoded = time.perf_counter()
        prediction = predictor.predict(hu, spacing_mm)
        done = time.perf_counter()
    peak = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    inside = levels.seconds + slices.seconds
    networks = predictors.load_networks(bundle)
    product = matrix_product()
    return {
        "load": loaded - started,
        "decode": decoded - loaded,
        "steps": prediction.seconds,
        "network": inside,
        "runtime": levels.engine.runtime,
        "total": done - loaded,
        "found": len(prediction.findings.vertebrae),
        "peak_kib": peak,
        "networks": [
            *compared("levels", levels, networks[0], product),
            *compared("slices", slices, networks[1].slices, product),
        ],
    }


def whole_slices(study: dict[str, Any]) -> list[str]:
    """Plain predict on whole axial slices, measured on a few and scaled, against our decode to findings."""
    network, encoders = (importlib.import_module(f"model.{name}") for name in ("network", "encoders"))
    rng = np.random.default_rng(0)
    slices = rng.normal(0, 1, (SAMPLE, SIDE, SIDE, 3)).astype(np.float32)
    lines = []
    for name, config in {
        "InceptionResNetV2 U-Net, random weights": encoders.NetworkConfig(),
        "embedded level network's shape": encoders.compact_config(),
    }.items():
        model = network.build_unet(config)
        model.predict(slices, verbose=0)
        scaled = statistics.median(seconds_of(lambda m=model: m.predict(slices, verbose=0)) for _ in range(2))
        scaled *= SLICES / SAMPLE
        lines.append(
            f"  (a) predict on every slice, {name}: {scaled:.0f} s for {SLICES} (scaled from {SAMPLE});"
            f" ours is {scaled / study['total']:.0f} x faster from decode to findings,"
            f" {scaled / study['network']:.0f} x in the networks (goal >= 40 x)"
        )
    return lines


def pydicom_stack(paths: Sequence[Path]) -> Any:
    """What everybody writes."""
    slices = sorted(map(pydicom.dcmread, paths), key=lambda one: -float(one.ImagePositionPatient[2]))
    hu = np.stack([one.pixel_array for one in slices]).astype(np.float32)
    return hu * float(slices[0].RescaleSlope) + float(slices[0].RescaleIntercept)


def our_reading(paths: Sequence[Path]) -> Any:
    """The volume by way of the reading child, with all its checks."""
    with tempfile.TemporaryDirectory() as scratch:
        return read_study(paths, Path(scratch)).series.to_standard()


def our_pixels(paths: Sequence[Path]) -> float:
    """Processor seconds from the same files' pixels to HU, once their headers are known."""
    frames = [frames_of(read_instance(path), 1)[0] for path in paths]
    volume = np.empty((len(frames), frames[0].rows, frames[0].columns), dtype=np.int16)
    return processor_seconds_of(lambda: write_hu(frames, volume))


def reading(paths: Sequence[Path]) -> str:
    """Our reading against the usual stack, in turns, by the processor time of all processes."""
    times: dict[str, list[float]] = {"pydicom": [], "ours": [], "pixels": []}
    for number in range(ROUNDS):
        works = {"pydicom": lambda: pydicom_stack(paths), "ours": lambda: our_reading(paths)}
        for name in works if number % 2 else reversed(works):
            times[name].append(processor_seconds_of(works[name]))
        times["pixels"].append(our_pixels(paths))
    stack = times["pydicom"]
    ratios = {
        name: statistics.median(there / here for there, here in zip(stack, times[name], strict=True))
        for name in ("ours", "pixels")
    }
    return (
        f"  (c) pydicom stack {statistics.median(stack):.2f} s of processor time; read_study, child, checks and headers"
        f" included, {statistics.median(times['ours']):.2f} s: speed of the stack = 1: {ratios['ours']:.2f};"
        f" pixels to HU alone {statistics.median(times['pixels']):.3f} s: {ratios['pixels']:.1f}"
    )


def compressed(hu: Any, folder: Path) -> list[str]:
    """Our decoders, one thread, against pydicom's choice on the same compressed slices, in turns."""
    lines = []
    for syntax in TransferSyntax:
        if syntax in {TransferSyntax.IMPLICIT_LE, TransferSyntax.EXPLICIT_LE}:
            continue
        options = SeriesOptions(encoding=Encoding(syntax, bits_stored=16, signed=True))
        paths = write_series(hu, SPACING_MM, folder / syntax.name, options)
        image = decoders.Image(syntax.value, SIDE, SIDE, 16, True, "MONOCHROME2")
        streams = [next(pydicom.encaps.generate_frames(pydicom.dcmread(path).PixelData)) for path in paths]
        ours, theirs = [], []
        for _ in range(ROUNDS):
            theirs.append(seconds_of(lambda s=streams, i=image: [decoders._thorough(one, i) for one in s]))
            ours.append(seconds_of(lambda s=streams, i=image: [decoders.decode(one, i) for one in s]))
        ratio = statistics.median(there / here for here, there in zip(ours, theirs, strict=True))
        lines.append(
            f"      {syntax.name:<18} {1e3 * statistics.median(ours) / len(streams):6.1f} ms a slice,"
            f" pydicom's decoders {1e3 * statistics.median(theirs) / len(streams):6.1f}: {ratio:.1f} x"
        )
    return lines


def measured_alone(folder: Path) -> dict[str, Any]:
    """The analysis of the study in a fresh process; only OpenBLAS's own choice of kernels is let in."""
    hidden = {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"}
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"PYTHONPATH": str(PROJECT), "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [sys.executable, __file__, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def report(study: dict[str, Any]) -> list[str]:
    """The study's own numbers."""
    steps = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in study["steps"].items())
    own, child = (kib / KIB_PER_MIB for kib in study["peak_kib"])
    networks = study["networks"]
    share = sum(one["gflop"] for one in networks) / sum(one["gflop"] / one["share"] for one in networks)
    return [
        f"  load and check the bundle {study['load']:.1f} s (once a worker)",
        f"  decode {study['decode']:.2f} s, {steps}; {study['found']} levels found",
        f"  of which inside the networks {study['network']:.2f} s ({study['runtime']})",
        f"  decode to findings {study['total']:.2f} s (goal < 10 s on two quiet cores)",
        f"  peak memory {own:.0f} MiB, before that the reading child {child:.0f} MiB (goal < 3 GB)",
        f"  (b) {100 * share:.0f} % of a large matrix product's speed inside the networks (goal >= 60 %):",
        *(
            f"      {one['name']}: {one['gflop']:.0f} GFLOP a study, {one['speed']:.0f} GFLOP/s, the product"
            f" {one['floor']:.0f}, share {100 * one['share']:.0f} %"
            for one in networks
        ),
    ]


@pytest.mark.timeout(3600)
def test_analysis(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hu = synthetic_neck()
    paths = write_series(hu, SPACING_MM, tmp_path / "study")
    study = measured_alone(tmp_path / "study")
    middle = SLICES // 2
    lines = [
        *report(study),
        *whole_slices(study),
        reading(paths),
        *compressed(hu[middle : middle + COMPRESSED], tmp_path),
    ]
    with capsys.disabled():
        print(  # noqa: T201  (a benchmark prints)
            f"\nanalysis of {SLICES} x {SIDE} x {SIDE} on {len(os.sched_getaffinity(0))} cores"
            f" (load {os.getloadavg()[0]:.1f}):\n" + "\n".join(lines)
        )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(analyze(Path(sys.argv[1]))) + "\n")
