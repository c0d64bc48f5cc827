"""What no event would trigger for single images: bells to ring (again), workers gone silent, files that are too old."""

from collections.abc import Sequence
from datetime import timedelta

from worker import image_queue
from worker.database import Database
from worker.image_files import ImageFiles
from worker.ports import BellUnavailable, Clock, ImageBell
from worker.settings import Settings

_LIMIT = 100
_UNKNOWN_SECONDS = 86_400.0
"""A file of the image store that no row knows for so long belongs to an upload that was cut off."""
_TIDY = timedelta(minutes=10)


class ImageSweep:
    """The clerk's part in single images; raises SQLAlchemyError and OSError, and the next run makes up for it."""

    def __init__(self, database: Database, settings: Settings, bell: ImageBell, clock: Clock) -> None:
        self._database = database
        self._settings = settings
        self._bell = bell
        self._clock = clock
        self._files = ImageFiles(settings.images_dir)
        self._rung: dict[int, float] = {}
        self._tidied_at = clock() - _TIDY

    def run(self) -> None:
        """Run every sweep that is due."""
        now = self._clock()
        with self._database.reading() as session:
            waiting = image_queue.waiting(session, _LIMIT)
        self._ring(waiting, now.timestamp())
        if now - self._tidied_at >= _TIDY:
            self._tidied_at = now
            self.tidy()

    def tidy(self) -> None:
        """Take images back from dead workers, and delete what is too old."""
        now = self._clock()
        with self._database.transaction() as session:
            image_queue.expire(session, now)
            rows = image_queue.old(session, now - timedelta(days=self._settings.image_keep_days), _LIMIT)
            files = [name for row in rows for name in (row.file, row.overlay)]
            for row in rows:
                session.delete(row)
        for name in files:
            self._files.remove(name)
        for name in self._files.older(now.timestamp() - _UNKNOWN_SECONDS):
            with self._database.reading() as session:
                known = image_queue.is_known(session, name)
            if not known:
                self._files.remove(name)

    def _ring(self, waiting: Sequence[int], now: float) -> None:
        """Ring for images that were not rung for lately; a bell that does not answer is tried with the next run."""
        again = self._settings.ring_again_seconds
        self._rung = {image_id: self._rung[image_id] for image_id in waiting if image_id in self._rung}
        for image_id in waiting:
            if now - self._rung.get(image_id, 0.0) < again:
                continue
            try:
                self._bell.ring_image(image_id)
            except BellUnavailable:
                return
            self._rung[image_id] = now
