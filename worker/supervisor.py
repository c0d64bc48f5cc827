"""``cspine up``: listener, clerk, GPU worker and console as child processes of one machine, restarted when they die."""

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType

logger = logging.getLogger(__name__)

PROCESSES = ("clerk", "listen", "work", "console")
"""Commands of ``cspine`` in the order of their start: the clerk also keeps the embedded broker."""

RESTART_SECONDS = (1.0, 2.0, 5.0, 15.0, 30.0)
STEADY_SECONDS = 60.0


@dataclass(slots=True)
class _Child:
    command: str
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    quick_deaths: int = 0


@dataclass(slots=True)
class Supervisor:
    """Runs the processes of ``cspine up`` until SIGTERM or SIGINT; ``environment`` carries their settings."""

    environment: Mapping[str, str]
    commands: Sequence[str] = PROCESSES
    drain_seconds: float = 60.0
    _stopping: bool = False
    _children: list[_Child] = field(init=False)

    def __post_init__(self) -> None:
        self._children = [_Child(command) for command in self.commands]

    def run(self) -> None:
        """Start everything, restart what dies with a growing pause, and drain on SIGTERM; returns when all are gone."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        while not self._stopping:
            for child in self._children:
                self._attend(child)
            time.sleep(0.2)
        self._drain()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _attend(self, child: _Child) -> None:
        now = time.monotonic()
        if child.process is not None:
            status = child.process.poll()
            if status is None:
                return
            child.process = None
            child.quick_deaths = 0 if now - child.started_at > STEADY_SECONDS else child.quick_deaths + 1
            pause = RESTART_SECONDS[min(child.quick_deaths, len(RESTART_SECONDS) - 1)]
            child.restart_at = now + pause
            logger.error("process %s ended with status %s, starts again in %.0f s", child.command, status, pause)
        if now >= child.restart_at:
            child.started_at = now
            child.process = subprocess.Popen(
                [sys.executable, "-m", "worker.cli", child.command],
                env=self._environment_of(child),
                stdin=subprocess.DEVNULL,
            )

    def _environment_of(self, child: _Child) -> dict[str, str]:
        """The settings, with the port of the health pages for the clerk alone: one port, one process."""
        if child.command == "clerk":
            return dict(self.environment)
        return {name: value for name, value in self.environment.items() if name != "CSPINE_HEALTH_PORT"}

    def _drain(self) -> None:
        """The listener and the worker end first; the clerk, with the broker, last."""
        for child in reversed(self._children):
            if child.process is None:
                continue
            child.process.terminate()
            try:
                child.process.wait(self.drain_seconds)
            except subprocess.TimeoutExpired:
                logger.error(  # noqa: TRY400  (the message says it all)
                    "process %s does not end: killed; its lease runs out and the study is taken up again", child.command
                )
                child.process.kill()
                child.process.wait()
