"""What scanners and patients add to a finished CT: streaks, shoulder noise, motion, kernels, thick slices, rings.

Arrays are HU as float32 (slice, row, column) in the standard frame; every function returns a new array.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.synthesis.anatomy import blurred, smooth_noise, stretched
from training.synthesis.shapes import Field

Spacing = tuple[float, float, float]
Artifact = Callable[[Field, Spacing, np.random.Generator], Field]

SLICE_SPACING_MM: Spacing = (9.0, 1.2, 1.2)
"""Spacing of the three sagittal slices that ``random_slice_artifacts`` gets: between channels, row, column."""


def dense_streaks(hu: Field, spacing_mm: Spacing, rng: np.random.Generator) -> Field:
    """Dark and bright axial bands between dense things: bone, teeth, metal, and shoulders outside the view.

    Line integrals of what is dense are squared (beam hardening), made noisy where much was absorbed (photon
    starvation), filtered and projected back, all on a grid of about 3 mm with few slices.
    """
    shape = (max(2, min(24, hu.shape[0])), *(max(8, min(56, count // 2)) for count in hu.shape[1:]))
    index = np.ix_(*(np.linspace(0, full - 1, few).astype(np.intp) for full, few in zip(hu.shape, shape, strict=True)))
    dense = np.clip((hu[index] - 250) / 1000, 0, 3).reshape(shape[0], -1)
    v, u = np.meshgrid(np.arange(shape[1]) - shape[1] / 2, np.arange(shape[2]) - shape[2] / 2, indexing="ij")
    shoulders = _toward_feet(shape[0], rng) * rng.uniform(0, 4)
    angles = np.linspace(0, np.pi, 40, endpoint=False) + rng.uniform(0, 0.08)
    step_mm = spacing_mm[1] * hu.shape[1] / shape[1]
    half = int(np.hypot(shape[1], shape[2]) / 2) + 2
    rows = np.arange(shape[0])[:, None] * (2 * half)
    error = np.zeros((shape[0], v.size), dtype=np.float32)
    for angle in angles:
        at = np.rint(v * np.cos(angle) + u * np.sin(angle)).astype(np.intp).ravel() + half
        sums = np.bincount((rows + at).ravel(), dense.ravel(), minlength=rows.size * 2 * half)
        path = sums.reshape(shape[0], 2 * half) * (step_mm / 60) + shoulders[:, None] * np.cos(angle) ** 8
        starved = rng.standard_normal(path.shape) * np.expm1(np.minimum(path, 3.5)) * 0.25
        wrong = starved - 0.35 * path * path
        error += (wrong - ndimage.uniform_filter1d(wrong, 7, axis=1)).astype(np.float32)[:, at]
    error *= rng.uniform(15, 80) / max(float(error.std()), 0.3)
    return hu + stretched(error.reshape(shape), hu.shape)


def shoulder_noise(hu: Field, spacing_mm: Spacing, rng: np.random.Generator) -> Field:
    """Noise drawn out from right to left that grows toward the shoulders (the last slices)."""
    long = rng.uniform(10, 40) / spacing_mm[2]
    noise = smooth_noise(hu.shape, (max(1.0, 1.0 / spacing_mm[0]), max(1.0, 1.2 / spacing_mm[1]), long), rng)
    strength = rng.uniform(30, 160) * _toward_feet(hu.shape[0], rng)
    return np.asarray(hu + strength[:, None, None] * noise, dtype=np.float32)


def _toward_feet(count: int, rng: np.random.Generator) -> Field:
    """A weight a slice that rises from 0 to 1 somewhere in the lower half."""
    at = np.linspace(0, 1, count, dtype=np.float32)
    return np.asarray(1 / (1 + np.exp((rng.uniform(0.45, 0.95) - at) / rng.uniform(0.03, 0.12))), dtype=np.float32)


def patient_motion(hu: Field, spacing_mm: Spacing, rng: np.random.Generator) -> Field:
    """The patient moved 0.5 to 2 mm in the plane: all slices below one position are shifted, or edges are doubled."""
    cut = int(rng.uniform(0.1, 0.9) * hu.shape[0])
    way, angle = rng.uniform(0.5, 2.0), rng.uniform(0, 2 * np.pi)
    end = hu.shape[0] if rng.random() < 0.6 else min(hu.shape[0], cut + 2 + int(rng.uniform(2, 25) / spacing_mm[0]))
    moved = _shifted(hu[cut:end], 1, way * np.sin(angle) / spacing_mm[1])
    moved = _shifted(moved, 2, way * np.cos(angle) / spacing_mm[2])
    ghost = np.float32(rng.uniform(0.3, 0.6) if rng.random() < 0.4 else 1.0)
    result = hu.copy()
    result[cut:end] += ghost * (moved - hu[cut:end])
    return result


def _shifted(hu: Field, axis: int, voxels: float) -> Field:
    """Shifted along one axis by a fraction of voxels; edges repeat."""
    count = hu.shape[axis]
    at = np.arange(count) - voxels
    below = np.floor(at)
    part = np.float32(at[0] - below[0])
    low, high = (np.clip(below + k, 0, count - 1).astype(np.intp) for k in (0, 1))
    return np.asarray((1 - part) * np.take(hu, low, axis) + part * np.take(hu, high, axis), dtype=np.float32)


def soft_kernel(hu: Field, spacing_mm: Spacing, rng: np.random.Generator) -> Field:
    """A smooth reconstruction kernel: blur in the axial plane."""
    sigma = rng.uniform(0.4, 1.1)
    return blurred(hu, (0.0, sigma / spacing_mm[1], sigma / spacing_mm[2]))


def sharp_kernel(hu: Field, spacing_mm: Spacing, rng: np.random.Generator) -> Field:
    """A bone kernel: edges overshoot and noise is amplified."""
    smooth = blurred(hu, (0.0, 1.0 / spacing_mm[1], 1.0 / spacing_mm[2]))
    return np.asarray(hu + np.float32(rng.uniform(0.3, 1.5)) * (hu - smooth), dtype=np.float32)


def thick_slices(hu: Field, spacing_mm: Spacing, rng: np.random.Generator) -> Field:
    """Slices of 0.5 to 3 mm effective thickness on the same grid."""
    return box_averaged(hu, 0, rng.uniform(0.5, 3.0) / spacing_mm[0])


def box_averaged(hu: Field, axis: int, voxels: float) -> Field:
    """The mean over a box of this width (a fraction of voxels is fine) along one axis."""
    if voxels <= 1:
        return hu.copy()
    reach = int(np.ceil((voxels - 1) / 2))
    kernel = np.ones(2 * reach + 1)
    kernel[0] = kernel[-1] = (voxels - (2 * reach - 1)) / 2
    return np.asarray(ndimage.correlate1d(hu, kernel / kernel.sum(), axis=axis, mode="nearest"), dtype=np.float32)


def rings(hu: Field, spacing_mm: Spacing, rng: np.random.Generator) -> Field:
    """Faint rings around the scanner's axis, slowly changing from slice to slice."""
    rows, columns = hu.shape[1:]
    v = (np.arange(rows) - rows * rng.uniform(0.3, 0.7)) * spacing_mm[1]
    u = (np.arange(columns) - columns * rng.uniform(0.3, 0.7)) * spacing_mm[2]
    radius = np.rint(np.hypot(v[:, None], u[None, :]) / 0.8).astype(np.intp)
    bins = int(radius.max()) + 1
    profile = smooth_noise((hu.shape[0], bins), (max(1.0, 8 / spacing_mm[0]), 1.0), rng)
    profile *= rng.uniform(4, 25) * (rng.random(bins) < rng.uniform(0.03, 0.3))
    return np.asarray(hu + profile[:, radius], dtype=np.float32)


def quantized(hu: Field, _spacing_mm: Spacing, rng: np.random.Generator) -> Field:
    """HU rounded to coarse steps, as after lossy or 8-bit storage."""
    step = np.float32(rng.choice([1, 2, 4, 8, 12]))
    return np.asarray(np.rint(hu / step) * step, dtype=np.float32)


CHANCES: tuple[tuple[Artifact, float], ...] = (
    (thick_slices, 0.35),
    (soft_kernel, 0.2),
    (sharp_kernel, 0.2),
    (patient_motion, 0.15),
    (dense_streaks, 0.35),
    (shoulder_noise, 0.3),
    (rings, 0.06),
    (quantized, 0.1),
)
"""How often each artifact befalls a scan that is not clean, in the order in which they arise."""
CLEAN = 0.4
"""Share of the scans without any artifact."""


def random_artifacts(hu: Field, spacing_mm: Spacing, rng: np.random.Generator) -> Field:
    """A scan as it may come: clean most often, else with some artifacts."""
    if rng.random() < CLEAN:
        return hu
    for artifact, chance in CHANCES:
        if rng.random() < chance:
            hu = artifact(hu, spacing_mm, rng)
    return hu


def random_slice_artifacts(hu: Field, rng: np.random.Generator) -> Field:
    """The same for three neighboring sagittal slices (channel, row, column) with pixels of about 1.2 mm.

    One in ten is blurred strongly, like a very coarse scan, whatever else befalls it.
    """
    pixel = SLICE_SPACING_MM[1]
    if rng.random() < 0.1:
        down, back = (float(rng.uniform(0.5, 2.0)) / pixel for _ in range(2))
        hu = blurred(hu, (0.0, down, back))
    if rng.random() < CLEAN:
        return hu
    if rng.random() < 0.3:
        hu = box_averaged(hu, 1, rng.uniform(1.0, 3.0) / pixel)
    if rng.random() < 0.35:
        hu = hu + _row_bands(hu.shape, rng)
    if rng.random() < 0.15:
        hu = _moved_rows(hu, rng)
    if rng.random() < 0.15:
        hu = hu + np.float32(rng.uniform(0.3, 1.2)) * (hu - blurred(hu, (0.0, 1.0 / pixel, 1.0 / pixel)))
    return np.asarray(hu, dtype=np.float32)


def _row_bands(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Streaks of axial slices as the sagittal plane cuts them: bands and coarse noise, stronger toward the feet."""
    weight = _toward_feet(shape[1], rng)[None, :, None]
    bands = smooth_noise(shape, (3.0, rng.uniform(1.0, 3.0), rng.uniform(15, 80)), rng)
    noise = smooth_noise(shape, (1.0, 1.0, rng.uniform(1.0, 4.0)), rng)
    even = rng.uniform(0, 0.4)
    strength = rng.uniform(10, 110, size=2)
    return np.asarray((even + (1 - even) * weight) * (strength[0] * bands + strength[1] * noise), dtype=np.float32)


def _moved_rows(hu: Field, rng: np.random.Generator) -> Field:
    """Everything below one row moved forward or backward by 0.5 to 2 mm, or doubled."""
    cut = int(rng.uniform(0.1, 0.9) * hu.shape[1])
    way = float(rng.uniform(0.5, 2.0) * rng.choice([-1, 1])) / SLICE_SPACING_MM[2]
    share = np.float32(0.5 if rng.random() < 0.3 else 1.0)
    result = hu.copy()
    result[:, cut:] += share * (_shifted(hu[:, cut:], 2, way) - hu[:, cut:])
    return result
