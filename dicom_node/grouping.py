"""The slices of one series sorted into consistent stacks.

A series may hold several stacks (two acquisitions, two kernels, a scout). What belongs together shares file form,
matrix, spacing, orientation and frame of reference; acquisition, kernel and image type only tell stacks apart where
their slices would collide otherwise, because scanners also count acquisitions up from slice to slice.
"""

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from dicom_node.frames import Frame
from dicom_node.stacks import spread

SAME_ORIENTATION = 1e-3


def split(frames: Sequence[Frame]) -> list[list[Frame]]:
    """The frames of one series in consistent stacks, in the order of their first frame; without a plane: their own."""
    stacks: list[list[Frame]] = []
    for group in _grouped(frames, _form):
        if group[0].plane is None:
            stacks.append(group)
            continue
        for aligned in _aligned(group):
            stacks += _separated(aligned, (_acquisition, _kernel, _image_type))
    return stacks


def _separated(frames: list[Frame], keys: Sequence[Callable[[Frame], tuple[str, ...]]]) -> list[list[Frame]]:
    """The frames as they are if they make a clean stack or nothing parts them into clean ones."""
    if len(frames) < 2 or not keys or spread(frames).clean:
        return [frames]
    parts = sorted(_grouped(frames, keys[0]), key=lambda part: keys[0](part[0]))
    if len(parts) > 1 and len(parts) <= len(frames) // 2:
        separated = [stack for part in parts for stack in _separated(part, keys[1:])]
        largest = max(separated, key=len)
        if len(largest) > 1 and spread(largest).clean:
            return separated
    return _separated(frames, keys[1:])


def _aligned(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Frames by orientation, equal within rounding."""
    groups: list[tuple[NDArray[np.float64], list[Frame]]] = []
    for frame in frames:
        if frame.plane is None:
            continue
        cosines = np.array(frame.plane.orientation)
        for reference, members in groups:
            if np.abs(reference - cosines).max() <= SAME_ORIENTATION:
                members.append(frame)
                break
        else:
            groups.append((cosines, [frame]))
    return [members for _, members in groups]


def _grouped(frames: Sequence[Frame], key: Callable[[Frame], Hashable]) -> list[list[Frame]]:
    """Frames by a key, groups in the order of their first frame."""
    groups: dict[Hashable, list[Frame]] = {}
    for frame in frames:
        groups.setdefault(key(frame), []).append(frame)
    return list(groups.values())


def _form(frame: Frame) -> Hashable:
    plane = frame.plane
    return (
        frame.file.path if frame.multi_frame else None,
        frame.rows,
        frame.columns,
        None if plane is None else tuple(round(value, 3) for value in plane.pixel_spacing_mm),
        frame.frame_of_reference_uid,
        "LOCALIZER" in frame.image_type,
        "" if frame.rescale is None else frame.rescale.unit,
    )


def _acquisition(frame: Frame) -> tuple[str, ...]:
    return (frame.acquisition.zfill(12),)


def _kernel(frame: Frame) -> tuple[str, ...]:
    return (frame.kernel,)


def _image_type(frame: Frame) -> tuple[str, ...]:
    return frame.image_type
