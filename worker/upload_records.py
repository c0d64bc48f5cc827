"""The tables of uploads: what came, the studies it belongs to, and single images with their predictions.

No column names a patient; the pictures themselves, which may, are files (see ``worker.image_files``) with an end.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Enum, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from worker.records import Base, Identifier


class ImageState(StrEnum):
    """Where one single image is; FAILED is the end of one that has no prediction."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    PREDICTED = "PREDICTED"
    FAILED = "FAILED"


class ImageKind(StrEnum):
    """What the file of a single image is."""

    PICTURE = "PICTURE"
    SLICE = "SLICE"


def _words(kind: type[StrEnum]) -> Enum:
    return Enum(kind, native_enum=False, length=16, validate_strings=True)


class Upload(Base):
    """One upload: by whom, and its files by what became of them (``fates``: sentences to counts).

    ``stop`` says why it ended before everything was looked at.
    """

    __tablename__ = "uploads"

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    at: Mapped[datetime]
    by: Mapped[str] = mapped_column(String(64))
    fates: Mapped[dict[str, Any]]
    stop: Mapped[str | None] = mapped_column(Text)

    studies: Mapped[list["UploadStudy"]] = relationship(order_by="UploadStudy.id")
    images: Mapped[list["SingleImage"]] = relationship(order_by="SingleImage.id", back_populates="upload")


class UploadStudy(Base):
    """One study that instances of an upload belong to."""

    __tablename__ = "upload_studies"
    __table_args__ = (UniqueConstraint("upload_id", "study_id"),)

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    upload_id: Mapped[int] = mapped_column(ForeignKey("uploads.id"))
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)


class SingleImage(Base):
    """One image that is judged by itself: a picture, or one CT slice.

    ``file`` is its content in the image store, until it was judged; ``overlay`` the picture of its prediction there.
    ``tries`` counts claims. ``findings`` are ``model.image_findings.ImageFindings`` as JSON.
    """

    __tablename__ = "single_images"
    __table_args__ = (Index(None, "state", "id"), Index(None, "received_at"))

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    upload_id: Mapped[int] = mapped_column(ForeignKey("uploads.id"), index=True)
    received_at: Mapped[datetime]
    state: Mapped[ImageState] = mapped_column(_words(ImageState), default=ImageState.WAITING)
    kind: Mapped[ImageKind] = mapped_column(_words(ImageKind))
    file: Mapped[str | None] = mapped_column(String(64))
    overlay: Mapped[str | None] = mapped_column(String(64))
    tries: Mapped[int] = mapped_column(default=0)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    bundle_name: Mapped[str | None] = mapped_column(String(64))
    bundle_version: Mapped[str | None] = mapped_column(String(32))
    bundle_sha256: Mapped[str | None] = mapped_column(String(64))
    findings: Mapped[dict[str, Any] | None]
    seconds: Mapped[float | None]
    failure: Mapped[str | None] = mapped_column(Text)

    upload: Mapped[Upload] = relationship(back_populates="images")
