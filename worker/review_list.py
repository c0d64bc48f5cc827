"""What the command line shows of reviews: one line each."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from worker.database import Database
from worker.records import Review, ReviewState, Study
from worker.review_export import reading_of
from worker.reviewing import kind_of


@dataclass(frozen=True, slots=True)
class ReviewLine:
    """One review in a list; ``says`` is what it says, or why it cannot be read."""

    received_at: datetime
    calling_ae_title: str
    study_instance_uid: str
    kind: str
    state: ReviewState
    verdict: str | None
    says: str

    def as_line(self) -> str:
        """One line of text."""
        received = self.received_at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        return f"{received}  {self.state:<10} {self.kind:<20} {self.study_instance_uid}  {self.says}".rstrip()

    def as_json(self) -> dict[str, object]:
        """Plain JSON values."""
        return {
            "received_at": self.received_at.isoformat(),
            "calling_ae_title": self.calling_ae_title,
            "study_instance_uid": self.study_instance_uid,
            "kind": self.kind,
            "state": self.state.value,
            "verdict": self.verdict,
            "says": self.says,
        }


def review_lines(database: Database, limit: int) -> list[ReviewLine]:
    """The newest reviews."""
    query = (
        select(Review, Study.study_instance_uid)
        .join(Study, Study.id == Review.study_id)
        .order_by(Review.id.desc())
        .limit(limit)
    )
    with database.reading() as session:
        return [line_of(row, uid) for row, uid in session.execute(query)]


def line_of(row: Review, study_instance_uid: str) -> ReviewLine:
    """One review as a line."""
    says = reading_of(row).as_line() if row.state is ReviewState.READ else row.reason or ""
    return ReviewLine(
        received_at=row.received_at,
        calling_ae_title=row.calling_ae_title,
        study_instance_uid=study_instance_uid,
        kind=kind_of(row),
        state=row.state,
        verdict=row.verdict,
        says=says,
    )
