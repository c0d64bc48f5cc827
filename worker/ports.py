"""What the application needs from outside: a clock and a bell. Each has a real and an in-memory adapter."""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

Clock = Callable[[], datetime]
"""Returns the time now, aware and in UTC; injected so that no test has to wait."""


class BellUnavailable(Exception):
    """The broker did not take the message in time; the row is rung again by a later sweep."""


class Bell(Protocol):
    """Tells the workers that a row waits. A ring is only a hint: it may be lost or come twice (the row is the truth).

    All methods raise BellUnavailable where the broker cannot be reached, and must return within seconds.
    """

    def ring_analysis(self, study_id: int, generation: int) -> None:
        """Announce a QUEUED study to the GPU workers."""

    def ring_delivery(self, study_id: int, generation: int) -> None:
        """Announce a SENDING study to the clerks."""

    def ring_shadow(self, run_id: int) -> None:
        """Announce a run that the shadow model may look at to the GPU workers."""


class ImageBell(Protocol):
    """A bell for single images."""

    def ring_image(self, image_id: int) -> None:
        """Announce an image that waits for its prediction to the GPU workers."""
