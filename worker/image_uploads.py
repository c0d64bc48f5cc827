"""Single images that somebody uploads: JPEG, PNG or one CT slice each; stored as they came, decoded elsewhere."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from dicom_node.errors import InvalidInstance, OutOfResources
from dicom_node.part10 import read_file_meta
from dicom_node.spool import Spool
from dicom_node.transfer_syntaxes import STORAGE_CLASSES
from model.image_decoding import ImageLimits, is_picture
from worker.image_files import ImageFiles
from worker.upload_records import ImageKind, SingleImage
from worker.uploads import Fate, Outcome, Stop

MAX_IMAGES = 50
MAX_BYTES = ImageLimits().content_bytes

_CHUNK = 1 << 20
_PREFIX_BYTES = 132


class _TooLarge(Exception):
    """A file has more bytes than are decoded."""


@dataclass(slots=True)
class ImagesTaken:
    """What became of an upload of single images: the images, without key and time yet, and the counts."""

    outcome: Outcome = field(default_factory=Outcome)
    images: list[SingleImage] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ImageUpload:
    """Takes single images in; ``spool`` tells whether the disk has room."""

    files: ImageFiles
    spool: Spool

    def take(self, uploaded: Iterable[BinaryIO]) -> ImagesTaken:
        """Store what can be judged; never raises for what the files hold."""
        taken = ImagesTaken()
        fates = taken.outcome.fates
        for file in uploaded:
            kind = _kind(file)
            if kind is None:
                if file.seek(0, os.SEEK_END):  # browsers send an empty file where nothing was chosen
                    fates[Fate.NO_IMAGE] += 1
                continue
            if len(taken.images) >= MAX_IMAGES:
                taken.outcome.stop = Stop.TOO_MANY_IMAGES
                break
            try:
                self.spool.require_space()
                name = self.files.keep(_chunks(file))
            except _TooLarge:
                fates[Fate.TOO_LARGE] += 1
            except (OutOfResources, OSError):
                taken.outcome.stop = Stop.OUT_OF_SPACE
                break
            else:
                fates[Fate.TAKEN] += 1
                taken.images.append(SingleImage(kind=kind, file=name))
        return taken


def _kind(file: BinaryIO) -> ImageKind | None:
    """What the file is, by its first bytes."""
    start = file.read(_PREFIX_BYTES)
    file.seek(0)
    if is_picture(start):
        return ImageKind.PICTURE
    if start[128:] != b"DICM":
        return None
    try:
        meta = read_file_meta(file)
    except InvalidInstance:
        return None
    return ImageKind.SLICE if meta.sop_class_uid in STORAGE_CLASSES else None


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    """The file piece by piece; raises ``_TooLarge``."""
    file.seek(0)
    left = MAX_BYTES
    while chunk := file.read(_CHUNK):
        left -= len(chunk)
        if left < 0:
            raise _TooLarge
        yield chunk
