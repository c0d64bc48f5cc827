"""The SPL head and neck atlas, the label map of one real subject, given by its folder and refined with its meshes.

The atlas is under the 3D Slicer licence; what derives from it carries that notice (NOTICE in the project's root).
"""

import gzip
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from training.synthesis.anatomy import Tissue
from training.synthesis.shapes import Field, Spot

LABELS = {11: 1, 12: 2, 13: 3, 14: 4, 15: 5, 16: 6, 17: 7, 21: 8, 22: 9, 23: 10, 24: 11, 36: 12}
"""Number in the atlas to ours (1..7 = C1..C7, 8.. = T1..)."""
OTHER_BONES = (9, 10, 25, 26, 27, 28, 31, 32, 33, 34, 35)
VESSELS = tuple(range(101, 118))
CARTILAGES = (119, 120)
STORED_MM = (1.40002444, 0.9765625, 0.9765625)
"""Voxel size of the atlas."""
FINE_MM = 0.8
"""Voxel size to which the neck is refined."""
MESH_ORIGIN_MM = (159.6027816, 124.0234375, 124.0234375)
"""Where the meshes' origin (RAS) lies in the standard frame; their axes point the other way."""
REACH_MM = ((-72.0, 170.0), (-95.0, 92.0), (-82.0, 82.0))
"""The part of the atlas that is kept, around the middle of C4's voxels."""
FAR_MM = 20.0
BAND_MM = 1.6
"""Within this distance of a bone's surface its mesh tells where the surface is."""


@dataclass(frozen=True, slots=True)
class Atlas:
    """The atlas in the standard frame at ``FINE_MM``: distance to bone (mm), nearest level (0: other bone), tissue.

    ``tissue`` is 255 where the atlas names none. ``middles``: the middle of each level's body in mm, C4's is zero;
    ``origin_mm`` is the place of voxel (0, 0, 0) on that scale.
    """

    depth_mm: Field
    nearest: NDArray[np.uint8]
    tissue: NDArray[np.uint8]
    origin_mm: Spot
    middles: dict[int, Spot]


def _read_nrrd(path: Path) -> NDArray[np.int16]:
    """The label map in the standard frame; raises ValueError when the file is something else."""
    raw = path.read_bytes()
    end = raw.index(b"\n\n")
    header = raw[:end].decode("ascii")
    if "encoding: gzip" not in header or "type: short" not in header or "sizes: 255 255 229" not in header:
        raise ValueError(f"{path.name} is not the SPL head and neck atlas label map")
    stored = np.frombuffer(gzip.decompress(raw[end + 2 :]), dtype="<i2").reshape(229, 255, 255)
    return stored[::-1, ::-1, ::-1]


def read_mesh(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (n, 3) in mm and outward unit normals of a surface of the atlas, in the standard frame.

    Raises ValueError for anything but a binary legacy VTK file with points and normals.
    """
    raw = path.read_bytes()
    parts: list[NDArray[np.float64]] = []
    for pattern in (rb"\nPOINTS (\d{1,7}) float\n", rb"\nNORMALS \w+ float\n"):
        found = re.search(pattern, raw)
        if found is None:
            raise ValueError(f"{path.name} is no surface mesh with normals")
        count = int(found.group(1)) if found.groups() else len(parts[0])
        values = np.frombuffer(raw, dtype=">f4", count=3 * count, offset=found.end()).reshape(count, 3)
        parts.append(-values[:, ::-1].astype(np.float64))
    return parts[0] + MESH_ORIGIN_MM, parts[1]


def _signed_mm(mask: NDArray[np.bool_]) -> Field:
    """Signed distance (mm) to the outline of a mask at the stored voxel size."""
    inside = ndimage.distance_transform_edt(mask, sampling=STORED_MM)
    outside = ndimage.distance_transform_edt(~mask, sampling=STORED_MM)
    distance = np.where(mask, 0.5 - inside, outside - 0.5).astype(np.float32)
    return np.asarray(ndimage.gaussian_filter(distance, (0.5, 0.7, 0.7)), dtype=np.float32)


def _refined(rough_mm: Field, mesh: Path, axes: tuple[Field, Field, Field]) -> Field:
    """A distance from the label map (mm) with the surface itself taken from the mesh, by its nearest point's normal."""
    points, normals = read_mesh(mesh)
    band = np.abs(rough_mm) < BAND_MM
    at = np.stack([axis[index] for axis, index in zip(axes, np.nonzero(band), strict=True)], axis=1)
    away, nearest = KDTree(points).query(at, workers=-1)
    along = ((at - points[nearest]) * normals[nearest]).sum(axis=1)
    refined = rough_mm.copy()
    refined[band] = np.where(away < BAND_MM + 0.5, np.clip(along, -BAND_MM, BAND_MM), rough_mm[band])
    return refined


def load_atlas(folder: Path) -> Atlas:
    """Read and refine the atlas (some tens of seconds)."""
    stored = _read_nrrd(folder / "HN-Atlas-labels.nrrd")
    middle = np.argwhere(stored == 14).mean(axis=0) * STORED_MM
    box = tuple(
        slice(max(0, int((centre + low) / step)), min(count, int((centre + high) / step) + 1))
        for centre, (low, high), step, count in zip(middle, REACH_MM, STORED_MM, stored.shape, strict=True)
    )
    shown = stored[box]
    corner = np.array([part.start for part in box]) * STORED_MM
    axes = [
        (np.arange(int((count - 1) * step / FINE_MM), dtype=np.float32) * FINE_MM).astype(np.float32)
        for count, step in zip(shown.shape, STORED_MM, strict=True)
    ]
    index = np.meshgrid(*(axis / step for axis, step in zip(axes, STORED_MM, strict=True)), indexing="ij", copy=False)
    others = _signed_mm(np.isin(shown, OTHER_BONES))
    best = np.asarray(ndimage.map_coordinates(others, index, order=1), dtype=np.float32)
    depth = np.minimum(best, np.float32(FAR_MM))
    nearest = np.zeros(best.shape, dtype=np.uint8)
    for theirs, ours in LABELS.items():
        mesh = next(iter(sorted((folder / "models").glob(f"Model_{theirs}_*.vtk"))), None)
        if mesh is None:
            raise ValueError(f"the atlas folder lacks the surface mesh of structure {theirs}")
        _add_vertebra(ours, stored == theirs, mesh, corner, axes, (best, depth, nearest))
    soft = ndimage.map_coordinates(_tissues(shown), index, order=0)
    middles = _middles(stored)
    zero = np.array(middles[4])
    relative = {level: Spot(*(float(x) for x in np.array(middle) - zero)) for level, middle in middles.items()}
    return Atlas(depth, nearest, soft, Spot(*(float(x) for x in corner - zero)), relative)


def _add_vertebra(
    number: int,
    mask: NDArray[np.bool_],
    mesh: Path,
    corner: NDArray[np.float64],
    axes: list[Field],
    fields: tuple[Field, Field, NDArray[np.uint8]],
) -> None:
    """Enter one vertebra into (best, depth, nearest), in place, where it is the nearest bone."""
    best, depth, nearest = fields
    where = ndimage.find_objects(mask.astype(np.uint8))[0]
    box = tuple(slice(max(0, part.start - 12), part.stop + 12) for part in where)
    low = np.array([part.start for part in box]) * STORED_MM - corner
    high = low + (np.array(mask[box].shape) - 1) * STORED_MM
    part = tuple(
        slice(int(np.searchsorted(axis, start)), int(np.searchsorted(axis, stop)))
        for axis, start, stop in zip(axes, low, high, strict=True)
    )
    if not all(one.stop > one.start for one in part):
        return
    chosen = [axis[one] for axis, one in zip(axes, part, strict=True)]
    steps = [(axis - start) / step for axis, start, step in zip(chosen, low, STORED_MM, strict=True)]
    rough = ndimage.map_coordinates(_signed_mm(mask[box]), np.meshgrid(*steps, indexing="ij"), order=1)
    places = [(axis + start).astype(np.float32) for axis, start in zip(chosen, corner, strict=True)]
    distance = _refined(np.asarray(rough, dtype=np.float32), mesh, (places[0], places[1], places[2]))
    closer = distance < best[part]
    best[part][closer] = distance[closer]
    nearest[part][closer] = number
    np.minimum(depth[part], distance, out=depth[part])


def _tissues(stored: NDArray[np.int16]) -> NDArray[np.uint8]:
    tissue = np.full(stored.shape, 255, dtype=np.uint8)
    tissue[np.isin(stored, VESSELS)] = Tissue.VESSEL
    tissue[np.isin(stored, CARTILAGES)] = Tissue.CARTILAGE
    return tissue


def _middles(stored: NDArray[np.int16]) -> dict[int, Spot]:
    """About the middle of each level's body (of C1: behind its front arch) in mm: in front of all its voxels' mean."""
    found = {}
    for theirs, ours in LABELS.items():
        at = np.argwhere(stored == theirs).mean(axis=0) * STORED_MM
        found[ours] = Spot(float(at[0]), float(at[1]) - (8.0 if ours == 1 else 11.0), float(at[2]))
    return found
