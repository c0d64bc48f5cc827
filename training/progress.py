"""How far a training is: a bar with the loss and the time left on a terminal, lines of the log elsewhere."""

import logging
import sys
import time
from typing import Any

import click

logger = logging.getLogger(__name__)

PARTS = 1000
MINUTE, HOUR = 60, 3600


class Progress:
    """A bar from ``begun`` (share 0..1) on; it is drawn only where standard error is a terminal."""

    def __init__(self, begun: float) -> None:
        self._begun, self._started, self._shown = begun, time.monotonic(), int(begun * PARTS)
        self._bar: Any = None
        if sys.stderr.isatty():
            self._bar = click.progressbar(
                length=PARTS, file=sys.stderr, show_eta=False, show_percent=True, item_show_func=_item
            )
            self._bar.update(self._shown)

    def advance(self, progress: float, text: str) -> None:
        """Show this share of the training, what it measures, and how long the rest will take."""
        if self._bar is None:
            return
        reached = min(PARTS, int(progress * PARTS))
        self._bar.update(reached - self._shown, f"{text}, {self.left(progress)} left")
        self._bar.render_progress()
        self._shown = reached

    def left(self, progress: float) -> str:
        """The time that the rest will take at the pace so far."""
        passed = time.monotonic() - self._started
        done = progress - self._begun
        if done <= 0:
            return "unknown time"
        return duration(passed * max(0.0, 1 - progress) / done)

    def say(self, text: str) -> None:
        """A line of the log where no bar is shown."""
        if self._bar is None:
            logger.info("%s", text)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.render_finish()


def _item(text: str | None) -> str:
    return text or ""


def duration(seconds: float) -> str:
    """Seconds as a reader says them."""
    if seconds < MINUTE:
        return f"{seconds:.0f} s"
    if seconds < HOUR:
        return f"{seconds / MINUTE:.0f} min"
    return f"{seconds // HOUR:.0f} h {seconds % HOUR // MINUTE:.0f} min"
