"""How far a training is: its time, and a bar with loss and time left on a terminal, lines of the log elsewhere."""

import logging
import sys
import time
from typing import Any

import click

from training.fitting.checkpoint import RunState
from training.fitting.feed import Feed

logger = logging.getLogger(__name__)

PARTS = 1000
MINUTE, HOUR = 60, 3600


class Clock:
    """Seconds of training and of waiting for data, interruptions and the start of the processes left out."""

    def __init__(self, state: RunState, feed: Feed) -> None:
        self._before, self._feed = state, feed
        self._started, self._first_wait = time.monotonic(), feed.waited_seconds

    @property
    def seconds(self) -> float:
        """So long has the run trained."""
        return self._before.seconds + time.monotonic() - self._started

    @property
    def waited_seconds(self) -> float:
        """So long has it waited for batches."""
        return self._before.waited_seconds + self._feed.waited_seconds - self._first_wait

    @property
    def waiting_share(self) -> float:
        """Share of the time so far that was spent waiting for batches."""
        return self.waited_seconds / max(self.seconds, 1e-9)


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
