"""NIfTI volumes in the standard frame: axes permuted and flipped by the affine, values copied, nothing resampled.

NIfTI's world is RAS+ (mm), DICOM's LPS+. The standard frame is that of ``dicom_node.series``: indices (slice, row,
column) grow toward feet, posterior and left. The bytes may be anybody's: the header is checked before anything of the
data is read, and of compressed files no more is decompressed than the header says.
"""

import gzip
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from dicom_node.hu_scale import AIR_HU
from training.datasets.studies import DataSetError

MAXIMUM_VOXELS = 1 << 30
MAXIMUM_BYTES = 4 << 30
MAXIMUM_OFFSET = 1 << 20
"""Where the values may begin at the latest; extensions before them are small texts."""
SPACING_MM = (0.05, 20.0)
SAME_PLACE_MM = 1.0
"""So far apart may the corners of two volumes on one grid lie: headers round spacings that many slices multiply."""
SHEAR = 0.02
"""Largest cosine between two axes of a volume that is a box."""

_STANDARD_CODES = ("I", "P", "L")
_HEADERS = ((nibabel.Nifti1Header, 348), (nibabel.Nifti2Header, 540))
_DEFLATE_RATIO = 1032
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_UNREADABLE = (OSError, EOFError, ValueError, zlib.error, ImageFileError, HeaderDataError)


@dataclass(frozen=True, eq=False, slots=True)
class StandardGrid:
    """A grid in the standard frame: its shape and the affine from (slice, row, column) to LPS in mm."""

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel spacing (slice, row, column)."""
        first, second, third = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(first), float(second), float(third)

    def difference(self, other: "StandardGrid") -> str:
        """What tells two grids apart, in words; empty where they are the same within ``SAME_PLACE_MM``."""
        if self.shape != other.shape:
            return f"{_product(other.shape)} voxels instead of {_product(self.shape)}"
        corners = np.stack(np.meshgrid(*([0, size - 1] for size in self.shape), [1], indexing="ij")).reshape(4, -1)
        apart = np.abs((self.affine - other.affine) @ corners).max()
        return f"corners up to {apart:.1f} mm apart" if apart > SAME_PLACE_MM else ""


@dataclass(frozen=True, eq=False, slots=True)
class NiftiVolume:
    """A NIfTI file whose header is sound; its values are read when they are asked for."""

    path: Path
    grid: StandardGrid
    header: Any
    """nibabel's, of NIfTI 1 or 2."""

    def read_hu(self) -> NDArray[np.int16]:
        """The values as HU (standard frame, C contiguous); what is not a number is air."""
        stored, slope, intercept = self._stored()
        hu = np.empty(stored.shape, dtype=np.int16)
        plain = stored.dtype == np.int16 and (slope, intercept) == (1.0, 0.0)
        for plane, target in zip(stored, hu, strict=True):
            if plain:
                target[...] = plane
            else:
                values = plane * np.float64(slope) + intercept
                np.nan_to_num(values, copy=False, nan=AIR_HU)
                target[...] = np.clip(np.rint(values), -32768, 32767)
        return hu

    def read_labels(self, numbers: Mapping[int, int]) -> NDArray[np.uint8]:
        """The mask (standard frame, C contiguous): ``numbers`` gives the label of a stored value, others become 0."""
        stored, slope, intercept = self._stored()
        table = np.zeros(256, dtype=np.uint8)
        for number, label in numbers.items():
            table[number] = label
        labels = np.empty(stored.shape, dtype=np.uint8)
        for plane, target in zip(stored, labels, strict=True):
            values = np.rint(np.nan_to_num(plane * np.float64(slope) + intercept))
            target[...] = table[np.where((values < 0) | (values > 255), 0, values).astype(np.uint8)]
        return labels

    def _stored(self) -> tuple[NDArray[Any], float, float]:
        """The stored values in the standard frame (a view), their slope and their intercept."""
        kind = nibabel.Nifti2Image if isinstance(self.header, nibabel.Nifti2Header) else nibabel.Nifti1Image
        try:
            proxy: Any = kind.from_filename(self.path).dataobj
            stored = np.asarray(proxy.get_unscaled())
        except _UNREADABLE as error:
            raise DataSetError(f"{self.path} is corrupt or cut off ({_short(error)}): download it again") from error
        stored = stored.reshape(stored.shape[:3])
        turned: NDArray[Any] = apply_orientation(stored, _turn(self.header.get_best_affine()))
        return turned, float(proxy.slope), float(proxy.inter)


def open_nifti(path: Path) -> NiftiVolume:
    """The volume of a ``.nii`` or ``.nii.gz`` file, its header read and checked; ``DataSetError`` when it is none."""
    try:
        header = _header(path)
    except _UNREADABLE as error:
        raise DataSetError(f"{path} cannot be read as NIfTI ({_short(error)}): download it again") from error
    problem = _problem(header, path)
    if problem:
        raise DataSetError(f"{path} {problem}")
    return NiftiVolume(path, _grid(header), header)


def _short(error: BaseException) -> str:
    """The error in a line of reasonable length."""
    return " ".join(str(error).split())[:120] or type(error).__name__


def _header(path: Path) -> Any:
    """The header, of NIfTI 1 or 2."""
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        raw = file.read(max(size for _, size in _HEADERS))
    for kind, size in _HEADERS:
        if kind.may_contain_header(raw[:size]):
            return kind(raw[:size])
    raise ValueError("it has no header of NIfTI 1 or 2")


def _problem(header: Any, path: Path) -> str:
    """What is wrong with a header, and what to do; empty when nothing is."""
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    if len(shape) < 3 or any(size != 1 for size in shape[3:]) or min(shape) < 1:
        return f"has {_product(shape)} values: it must hold one volume"
    if dtype.kind not in "iuf":
        return f"holds values of type {dtype}: they must be numbers"
    size = math.prod(shape) * dtype.itemsize
    if math.prod(shape) > MAXIMUM_VOXELS or size > MAXIMUM_BYTES:
        return f"has {_product(shape)} voxels of {dtype}: too many to be read; crop it"
    offset = float(header["vox_offset"])
    if not 0 <= offset <= MAXIMUM_OFFSET:
        return "has values at an impossible place: download it again"
    stored = path.stat().st_size * (_DEFLATE_RATIO if path.suffix == ".gz" else 1)
    if stored < offset + size:
        return "is shorter than its header says: download it again"
    return _affine_problem(header)


def _affine_problem(header: Any) -> str:
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        return "does not say how it lies in the patient (sform and qform code 0): left and right are unknown"
    affine = header.get_best_affine()
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not (SPACING_MM[0] <= lengths).all() or not (lengths <= SPACING_MM[1]).all():
        return f"has voxels that are not {SPACING_MM[0]} to {SPACING_MM[1]} mm wide: its affine must be in mm"
    axes = affine[:3, :3] / lengths
    if np.abs(axes.T @ axes - np.eye(3)).max() > SHEAR:
        return "has axes that are not at right angles: resample it to a grid that is a box"
    return ""


def _product(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)


def _turn(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """The permutation and flips from the stored axes to those of the standard frame."""
    turn: NDArray[np.float64] = ornt_transform(io_orientation(affine), axcodes2ornt(_STANDARD_CODES))
    return turn


def _grid(header: Any) -> StandardGrid:
    affine, shape = header.get_best_affine(), tuple(header.get_data_shape()[:3])
    turn = _turn(affine)
    sizes = [0, 0, 0]
    for size, axis in zip(shape, turn[:, 0], strict=True):
        sizes[int(axis)] = int(size)
    standard = _LPS @ affine @ nibabel.orientations.inv_ornt_aff(turn, shape)
    return StandardGrid((sizes[0], sizes[1], sizes[2]), standard)
