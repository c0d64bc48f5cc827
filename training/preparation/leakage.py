"""Leakage between splits: the same patient, the same pixels, or nearly the same picture on both sides fails a run.

Nearly the same is told by a perceptual fingerprint (Zauner 2010): the signs of the 896 lowest frequencies of the cosine
transform. It changes little with noise, brightness, smoothing, size and compression, and mirrors left and right alike.
It is no proof: turned, shifted or far smaller cuts of a picture look different to it, so copies that were made on
purpose must be grouped by their source before the split.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from training.datasets.studies import DataSetError
from training.preparation.prepared import Prepared, PreparedStudy

FREQUENCIES = {2: (28, 32), 3: (14, 8, 8)}
"""How many frequencies of each axis a fingerprint holds, of images and of volumes: 896 both times."""
BITS = 896
NEAR_BITS = 112
"""Pictures that differ in no more bits are nearly the same.

Measured on 30 CT of different patients (OpenKBP sample): volumes of two patients differ in 255 bits or more (416 on
average), slices in 188 or more; copies with noise of 30 HU, another brightness, a blur of a voxel, half of the slices
or JPEG quality 50 differ in 10 to 60, a volume that lost 3 % of its slices in 126.
"""

Fingerprint = NDArray[np.uint64]
"""14 words of 64 bits."""


@dataclass(frozen=True, slots=True)
class Leak:
    """Two studies of different splits that must not be apart, and why."""

    first: PreparedStudy
    second: PreparedStudy
    why: str


def fingerprint(values: NDArray[np.generic]) -> Fingerprint:
    """The fingerprint (14 words) of an image (row, column) or a volume (slice, row, column); ValueError for others."""
    keep = FREQUENCIES.get(values.ndim)
    if keep is None or not values.size:
        raise ValueError(f"a fingerprint is of an image or a volume, not of an array of shape {values.shape}")
    waves = fft.dctn(np.asarray(values, dtype=np.float32), norm="ortho")
    lowest = waves[tuple(slice(count) for count in keep)]
    kept = np.zeros(keep, dtype=np.float32)
    kept[tuple(slice(count) for count in lowest.shape)] = lowest
    faint = 1e-6 * float(np.abs(waves).max())
    return np.packbits(kept.ravel() > faint).view(np.uint64)


def mirrored(prints: Fingerprint, dimensions: int) -> Fingerprint:
    """The fingerprints of the same pictures mirrored from left to right: the odd frequencies of columns turn over."""
    odd = np.broadcast_to(np.arange(FREQUENCIES[dimensions][-1]) % 2 == 1, FREQUENCIES[dimensions])
    flipped: Fingerprint = prints ^ np.packbits(odd.ravel()).view(np.uint64)
    return flipped


def near_duplicates(
    prints: Fingerprint, groups: Sequence[Hashable], dimensions: int, bits: int = NEAR_BITS
) -> Iterator[tuple[int, int, int]]:
    """Pairs of pictures of different groups (splits) that are nearly the same, mirrored or not, and by how many bits.

    ``prints`` (picture, 14) are of images (``dimensions`` 2) or volumes (3); ``groups`` has one entry a picture.
    """
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    group = np.array([numbers[one] for one in groups], dtype=np.intp)
    turned = mirrored(prints, dimensions)
    for first in range(len(prints) - 1):
        others = np.flatnonzero(group[first + 1 :] != group[first]) + first + 1
        apart = np.minimum(_apart(prints[first], prints[others]), _apart(turned[first], prints[others]))
        for place in np.flatnonzero(apart <= bits):
            yield first, int(others[place]), int(apart[place])


def find_leaks(studies: Sequence[PreparedStudy]) -> tuple[Leak, ...]:
    """Everything that two splits share, each pair of studies once, for its plainest reason."""
    found: dict[tuple[str, str], Leak] = {}
    for why, kinds in (
        ("of the same patient", [study.patient for study in studies]),
        ("made of the same files", [study.files_sha256 for study in studies]),
        ("the same pixels", [study.field_sha256 for study in studies]),
    ):
        for first, second in _shared(studies, kinds):
            found.setdefault((first.name, second.name), Leak(first, second, why))
    printed = [study for study in studies if study.fingerprint]
    prints = np.array([words(study.fingerprint) for study in printed], dtype=np.uint64).reshape(-1, BITS // 64)
    for one, other, apart in near_duplicates(prints, [study.split for study in printed], dimensions=3):
        pair = printed[one], printed[other]
        why = f"nearly the same volume ({apart} of {BITS} bits differ; {NEAR_BITS} or fewer are too near)"
        found.setdefault((pair[0].name, pair[1].name), Leak(*pair, why))
    return tuple(found.values())


def check(prepared: Prepared) -> None:
    """Raise ``DataSetError`` that names every pair of studies which splits share and what to do about them."""
    leaks = find_leaks(prepared.studies)
    if leaks:
        raise DataSetError(*(f"{prepared.folder}: {sentence(leak)}" for leak in leaks))


def sentence(leak: Leak, keys: dict[str, str] | None = None) -> str:
    """A leak in words; ``keys`` tells what a study is called in its own data set, where that may be shown."""
    first, second = (
        f"{study.name}{f' ({keys[study.name]})' if keys and study.name in keys else ''} of {study.split}"
        for study in (leak.first, leak.second)
    )
    return (
        f"{first} and {second} are {leak.why}: give both the same split in split.csv, or name one in leave_out of "
        "its source, and run `python -m training prepare` again (what is prepared stays)"
    )


def words(text: str) -> Fingerprint:
    """A fingerprint out of the hexadecimal text that a record holds."""
    return np.frombuffer(bytes.fromhex(text), dtype=np.uint64)


def _apart(one: Fingerprint, others: Fingerprint) -> NDArray[np.intp]:
    """In how many bits each of the others differs."""
    apart: NDArray[np.intp] = np.bitwise_count(one ^ others).sum(axis=-1, dtype=np.intp)
    return apart


def _shared(studies: Sequence[PreparedStudy], values: Sequence[str]) -> Iterator[tuple[PreparedStudy, PreparedStudy]]:
    """Pairs of studies in different splits with the same value that is not empty: of each split one study a value."""
    together: dict[str, dict[str, PreparedStudy]] = {}
    for study, value in zip(studies, values, strict=True):
        if value:
            together.setdefault(value, {}).setdefault(study.split, study)
    for apart in together.values():
        yield from combinations(apart.values(), 2)
