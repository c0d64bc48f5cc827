"""Studies are found by their number in the RIS without the records holding it: a keyed hash of it is compared.

The clerk reads it from a stored instance when a study is new, and again when other instances came.
"""

from sqlalchemy import select, update

from worker.database import Database
from worker.installation_key import InstallationKey
from worker.ports import Clock
from worker.records import Study
from worker.settings import Settings
from worker.study_identity import newest_file, read_identity

_LIMIT = 100
"""Studies that one round looks at; the rest comes with the next."""


def number_digest(key: InstallationKey, number: str) -> str | None:
    """What is kept of an Accession Number; None of one that is empty."""
    text = number.strip().casefold()
    return key.digest("number", text) if text else None


class StudyNumbers:
    """Reads the numbers that are not read yet. Raises SQLAlchemyError; the next round makes up for it."""

    def __init__(self, database: Database, settings: Settings, key: InstallationKey, clock: Clock) -> None:
        self._database = database
        self._settings = settings
        self._key = key
        self._clock = clock

    def run(self) -> int:
        """Look at the studies that wait for it; return how many."""
        query = select(Study.id, Study.generation).where(Study.numbered_at.is_(None)).order_by(Study.id).limit(_LIMIT)
        with self._database.reading() as session:
            waiting = session.execute(query).all()
            files = {row.id: newest_file(session, row.id, self._settings.spool_dir) for row in waiting}
        found = {}
        for study_id, file in files.items():
            identity = None if file is None else read_identity(file)
            found[study_id] = None if identity is None else number_digest(self._key, identity.accession_number)
        if waiting:
            now = self._clock()
            with self._database.transaction() as session:
                for row in waiting:
                    same = update(Study).where(Study.id == row.id, Study.generation == row.generation)
                    session.execute(same.values(number_digest=found[row.id], numbered_at=now))
        return len(waiting)
