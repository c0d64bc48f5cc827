"""Something that is done again and again in a thread of its own; where that fails unforeseen, the process ends."""

import logging
import os
import signal
import threading

logger = logging.getLogger(__name__)


class Repeater:
    """Does one thing again and again, ``seconds`` apart, in a thread of its own, from ``start`` to ``stop``."""

    def __init__(self, name: str, seconds: float) -> None:
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is being done and end; also before the start."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=60)

    def once(self) -> None:
        """Do it once; whatever this raises ends the process."""
        raise NotImplementedError

    def _run(self) -> None:
        ended_well = False
        try:
            while not self._stop.wait(self._seconds):
                self.once()
            ended_well = True
        finally:
            if not ended_well:
                logger.critical("the %s died: this process ends and is to be started again", self._thread.name)
                os.kill(os.getpid(), signal.SIGTERM)
