"""Which single image is judged, by whom, and how often it is tried: the rows of their queue."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import exists, or_, select, update
from sqlalchemy.orm import Session

from worker.operation import BEGINS, mode_of
from worker.states import StudyState
from worker.upload_records import ImageKind, ImageState, SingleImage

LIFE = timedelta(seconds=1000)
"""No prediction lasts longer: the task's time limit ends it before."""
MAX_TRIES = 3
DIED = "Its worker ended, or did not report back, again and again. Look in the log of the GPU worker."


@dataclass(frozen=True, slots=True)
class ImageClaim:
    """The right to judge one image; a later claim has a higher ``attempt``."""

    image_id: int
    attempt: int
    kind: ImageKind
    file: str


def claim(session: Session, image_id: int, now: datetime) -> ImageClaim | None:
    """Take an image that waits; None when it does not, or another worker has it."""
    row = session.get(SingleImage, image_id) if _may_begin(session) else None
    if row is None or row.state is not ImageState.WAITING or row.file is None:
        return None
    mine = ImageClaim(row.id, row.tries + 1, row.kind, row.file)
    statement = (
        update(SingleImage)
        .where(SingleImage.id == image_id, SingleImage.state == ImageState.WAITING, SingleImage.tries == row.tries)
        .values(state=ImageState.RUNNING, tries=mine.attempt, started_at=now)
        .execution_options(synchronize_session=False)
    )
    return mine if session.connection().execute(statement).rowcount == 1 else None


def conclude(session: Session, mine: ImageClaim, state: ImageState, **values: Any) -> bool:
    """Write what became of a claim; False when it is not held any more."""
    statement = (
        update(SingleImage)
        .where(
            SingleImage.id == mine.image_id,
            SingleImage.state == ImageState.RUNNING,
            SingleImage.tries == mine.attempt,
        )
        .values(state=state, **values)
    )
    return session.connection().execute(statement).rowcount == 1


def waiting(session: Session, limit: int) -> Sequence[int]:
    """The images that wait, the oldest first; none while nothing is to be begun."""
    if not _may_begin(session):
        return ()
    query = select(SingleImage.id).where(SingleImage.state == ImageState.WAITING).order_by(SingleImage.id).limit(limit)
    return session.scalars(query).all()


def expire(session: Session, now: datetime) -> None:
    """Take images back from workers that went silent; after a few tries they are FAILED."""
    dead = SingleImage.state == ImageState.RUNNING, SingleImage.started_at <= now - LIFE
    given_up = update(SingleImage).where(*dead, SingleImage.tries >= MAX_TRIES)
    session.connection().execute(given_up.values(state=ImageState.FAILED, finished_at=now, failure=DIED))
    session.connection().execute(update(SingleImage).where(*dead).values(state=ImageState.WAITING))


def old(session: Session, before: datetime, limit: int) -> Sequence[SingleImage]:
    """Images from before a time, which no worker looks at now."""
    query = select(SingleImage).where(SingleImage.received_at < before, SingleImage.state != ImageState.RUNNING)
    return session.scalars(query.limit(limit)).all()


def is_known(session: Session, file: str) -> bool:
    """Whether a file of the image store belongs to an image."""
    found = exists().where(or_(SingleImage.file == file, SingleImage.overlay == file))
    return bool(session.scalar(select(found)))


def _may_begin(session: Session) -> bool:
    """Whether analyses are begun at present (pause, drain)."""
    return StudyState.QUEUED in BEGINS[mode_of(session)]
