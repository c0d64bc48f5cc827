"""Studies that somebody uploads, as files or in a zip file: each instance goes the way of those that a PACS sends.

Names of files and entries are never looked at: an archive is walked by position, and what is no acceptable instance is
counted by reason. An instance is durable, in spool and records, before the next one is read; to upload again what was
taken in already changes nothing.
"""

import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import BinaryIO

from sqlalchemy.exc import SQLAlchemyError

from dicom_node.errors import InvalidInstance, OutOfResources
from dicom_node.part10 import FileMeta, read_file_meta
from dicom_node.receipts import ReceiptPort
from dicom_node.spool import Spool
from dicom_node.storing import Sender, store
from dicom_node.transfer_syntaxes import RETURNED_CLASSES, REVIEW_CLASSES, STORAGE_CLASSES, syntaxes_of
from worker.database import DatabaseError
from worker.zip_bounds import EntryProblem, NotPlainZip, TooManyEntries, ZipBounds, check_directory, problem_of

AE_TITLE = "CONSOLE"
"""The calling AE title of what is uploaded, for rules and searches."""
MAX_FILES = 20_000
BOUNDS = ZipBounds(MAX_FILES, directory_bytes=4 << 20, entry_bytes=2 << 30, ratio=200, least_bytes=8192)
"""A slice of air shrinks a thousandfold, and is small; whatever has 1.6 MB and more must not."""
UNPACKED = 8
"""An archive may hold this many times the bytes that one upload may have."""

_CHUNK = 1 << 20
_PREFIX_BYTES = 132
_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_ARCHIVES = (*_ZIP, b"\x1f\x8b", b"7z\xbc\xaf\x27\x1c", b"Rar!", b"BZh", b"\xfd7zXZ")
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)
"""What reading a damaged or hostile entry raises (RuntimeError: it is encrypted after all)."""


class Fate(StrEnum):
    """What became of one file."""

    TAKEN = "taken in"
    NOT_DICOM = "no DICOM files"
    NO_USE = "DICOM objects that are no CT images: not looked at"
    TRANSFER_SYNTAX = "in a transfer syntax that is not accepted"
    DAMAGED = "damaged, cut off, or no whole instances"
    TOO_LARGE = "too large"
    SUSPICIOUS = "compressed too well to be true"
    UNREADABLE = "encrypted, or compressed in another way than deflate"
    NESTED = "archives inside an archive: unpack them first"
    NOT_A_FILE = "links or devices"
    NO_IMAGE = "neither JPEG, PNG nor CT slices"


class Stop(StrEnum):
    """Why an upload ended before everything was looked at; the value is for who uploaded."""

    OUT_OF_SPACE = "The disk is too full to take more. Free some space, then upload again: what is here stays here."
    DATABASE = "The database does not answer. Try again in a moment: what is here stays here."
    NOT_PLAIN_ZIP = "The archive is no plain zip file (without ZIP64 and comment), or its end is missing."
    TOO_MANY = f"There are more than {MAX_FILES} files. Upload one study at a time."
    TOO_MANY_IMAGES = "There are too many images: the first are taken, upload the rest separately."
    TOO_LARGE = "The archive would unpack to more than is accepted. Upload one study at a time."


_FATES = {
    EntryProblem.UNREADABLE: Fate.UNREADABLE,
    EntryProblem.TOO_LARGE: Fate.TOO_LARGE,
    EntryProblem.SUSPICIOUS: Fate.SUSPICIOUS,
}


@dataclass(slots=True)
class Outcome:
    """What became of an upload: files by fate, the Study Instance UIDs that came, and why it ended early (or None)."""

    fates: Counter[Fate] = field(default_factory=Counter)
    study_uids: set[str] = field(default_factory=set)
    stop: Stop | None = None


class _Stopped(Exception):
    """Nothing more is looked at."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop)
        self.stop = stop


@dataclass(frozen=True, slots=True)
class StudyUpload:
    """Takes the files of one upload in; ``reviews`` says whether reviews of our results are, ``max_bytes`` unpacked."""

    spool: Spool
    receipts: ReceiptPort
    sender: Sender
    max_bytes: int
    reviews: bool = True

    def take(self, files: Iterable[BinaryIO]) -> Outcome:
        """Take DICOM files, and those in zip files, in; files are seekable. Never raises for what they hold."""
        outcome = Outcome()
        try:
            for number, file in enumerate(files):
                self._take_upload(file, outcome, is_one_too_many=number >= MAX_FILES)
        except _Stopped as error:
            outcome.stop = error.stop
        return outcome

    def _take_upload(self, file: BinaryIO, outcome: Outcome, *, is_one_too_many: bool) -> None:
        """One of the uploaded files; browsers send an empty one where nothing was chosen."""
        if is_one_too_many:
            raise _Stopped(Stop.TOO_MANY)
        start = file.read(4)
        file.seek(0)
        if start in _ZIP:
            self._take_archive(file, outcome)
        elif start:
            self._take_file(file, outcome, nested=False)

    def _take_archive(self, file: BinaryIO, outcome: Outcome) -> None:
        """The entries of a zip file, by their position in its directory."""
        try:
            check_directory(file, BOUNDS)
            with zipfile.ZipFile(file) as archive:
                for info in self._listed(archive):
                    self._take_entry(archive, info, outcome)
        except TooManyEntries as error:
            raise _Stopped(Stop.TOO_MANY) from error
        except (NotPlainZip, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise _Stopped(Stop.NOT_PLAIN_ZIP) from error

    def _listed(self, archive: zipfile.ZipFile) -> Sequence[zipfile.ZipInfo]:
        """What the directory lists; raises ``TooManyEntries`` or stops where that is too much."""
        infos = archive.infolist()
        if len(infos) > MAX_FILES:
            raise TooManyEntries
        if sum(info.file_size for info in infos) > self.max_bytes:
            raise _Stopped(Stop.TOO_LARGE)
        return infos

    def _take_entry(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, outcome: Outcome) -> None:
        if info.is_dir():
            return
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in {0, stat.S_IFREG}:
            outcome.fates[Fate.NOT_A_FILE] += 1
            return
        problem = problem_of(info, BOUNDS)
        if problem is not None:
            outcome.fates[_FATES[problem]] += 1
            return
        try:
            with archive.open(info) as entry:
                self._take_file(entry, outcome, nested=True)  # type: ignore[arg-type]  # binary, typed as IO[bytes]
        except _DAMAGED:
            outcome.fates[Fate.DAMAGED] += 1

    def _take_file(self, file: BinaryIO, outcome: Outcome, *, nested: bool) -> None:
        """One file from its first byte to its last."""
        try:
            outcome.fates[self._fate(file, outcome, nested=nested)] += 1
        except InvalidInstance as error:
            outcome.fates[Fate.TOO_LARGE if error.code == "INSTANCE_TOO_LARGE" else Fate.DAMAGED] += 1
        except OutOfResources as error:
            raise _Stopped(Stop.OUT_OF_SPACE) from error
        except (SQLAlchemyError, DatabaseError) as error:
            raise _Stopped(Stop.DATABASE) from error

    def _fate(self, file: BinaryIO, outcome: Outcome, *, nested: bool) -> Fate:
        start = file.read(_PREFIX_BYTES)
        file.seek(0)
        if start[128:] != b"DICM":
            return Fate.NESTED if nested and start.startswith(_ARCHIVES) else Fate.NOT_DICOM
        meta = read_file_meta(file)
        if meta.sop_class_uid == _MEDIA_DIRECTORY:
            return Fate.NOT_DICOM
        if meta.sop_class_uid not in self._classes:
            return Fate.NO_USE
        if meta.transfer_syntax_uid not in syntaxes_of(meta.sop_class_uid):
            return Fate.TRANSFER_SYNTAX
        ours = FileMeta(meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid, AE_TITLE)
        incoming = self.spool.receive(ours)
        try:
            while chunk := file.read(_CHUNK):
                incoming.write(chunk)
            stored = store(incoming, self.spool, self.receipts, self.sender)
        finally:
            incoming.discard()
        if stored is None:
            return Fate.NO_USE
        outcome.study_uids.add(stored.header.study_instance_uid)
        return Fate.TAKEN

    @property
    def _classes(self) -> tuple[str, ...]:
        """The SOP classes that the listener takes as well."""
        return STORAGE_CLASSES + (REVIEW_CLASSES + RETURNED_CLASSES if self.reviews else ())
