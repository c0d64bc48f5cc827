"""Image files as pictures, whatever they are: JPEG and PNG within bounds, CT slices in the bone window."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from dicom_node.errors import ReadingAborted, UnusableSeries
from dicom_node.slices import read_slices
from model.errors import UnusableImage
from model.image_decoding import ImageLimits, Picture, decode_image
from model.image_preprocess import bone_window

PICTURES = frozenset({".png", ".jpg", ".jpeg"})
SLICES = frozenset({".dcm", ".dicom", ".ima"})
MASK_SUFFIX = ".mask.png"
"""``NAME.mask.png`` beside ``NAME.png`` (or .jpg, .dcm): where its fracture is, white on black."""
BATCH = 64
"""Slices that one process decodes: starting it takes as long as decoding some tens."""


def is_image_file(path: Path) -> bool:
    """Whether a name looks like an image's; CT slices often have no suffix, but say what they are."""
    if path.name == "DICOMDIR" or path.name.lower().endswith(MASK_SUFFIX):
        return False
    if not path.suffix:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    return path.suffix.lower() in PICTURES | SLICES


def read_picture(path: Path) -> Picture:
    """One picture; raises ``UnusableImage``."""
    (_, answer), *_ = read_pictures([path])
    if isinstance(answer, UnusableImage):
        raise answer
    return answer


def read_pictures(paths: Iterable[Path]) -> Iterator[tuple[Path, Picture | UnusableImage]]:
    """Every file with its picture, or why it has none, in order; some tens of pictures are in memory at a time."""
    source = iter(paths)
    while batch := list(itertools.islice(source, BATCH)):
        slices = _slices([path for path in batch if path.suffix.lower() not in PICTURES])
        for path in batch:
            yield path, slices[path] if path in slices else _picture(path)


def _picture(path: Path) -> Picture | UnusableImage:
    limits = ImageLimits()
    try:
        if path.stat().st_size > limits.content_bytes:
            return UnusableImage(f"the image file is larger than {limits.content_bytes} bytes")
        return decode_image(path.read_bytes(), limits)
    except UnusableImage as error:
        return error
    except OSError as error:
        return UnusableImage(f"the file cannot be read ({error.strerror})")


def _slices(paths: list[Path]) -> dict[Path, Picture | UnusableImage]:
    """The CT slices among a batch; all of it is unusable when the process that decodes them died."""
    if not paths:
        return {}
    try:
        answers = read_slices(paths)
    except ReadingAborted as error:
        return {path: UnusableImage(str(error)) for path in paths}
    return {
        path: UnusableImage(str(hu)) if isinstance(hu, UnusableSeries) else Picture(bone_window(hu), from_hu=True)
        for path, hu in zip(paths, answers, strict=True)
    }
