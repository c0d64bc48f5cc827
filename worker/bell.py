"""The bell over Celery: a message says "look at study N", never more; it gives up quickly and is rung again."""

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from worker.ports import BellUnavailable
from worker.queues import (
    ANALYZE_STUDY,
    CLERK_QUEUE,
    COMPARE_RUN,
    DELIVER_STUDY,
    GPU_QUEUE,
    PREDICT_IMAGE,
    SHADOW_QUEUE,
)

EXPIRES_SECONDS = 300
"""A message that nobody took in this time is worthless: the sweep has rung again since."""


class CeleryBell:
    """Rings through the broker of ``app``."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def ring_analysis(self, study_id: int, generation: int) -> None:
        """Announce a QUEUED study to the GPU workers."""
        self._send(ANALYZE_STUDY, GPU_QUEUE, study_id, generation)

    def ring_delivery(self, study_id: int, generation: int) -> None:
        """Announce a SENDING study to the clerks."""
        self._send(DELIVER_STUDY, CLERK_QUEUE, study_id, generation)

    def ring_shadow(self, run_id: int) -> None:
        """Announce a run that the shadow may look at to the GPU workers."""
        self._send(COMPARE_RUN, SHADOW_QUEUE, run_id)

    def ring_image(self, image_id: int) -> None:
        """Announce an image that waits for its prediction to the GPU workers."""
        self._send(PREDICT_IMAGE, GPU_QUEUE, image_id)

    def _send(self, task: str, queue: str, *ids: int) -> None:
        try:
            self._app.send_task(task, args=list(ids), queue=queue, retry=False, expires=EXPIRES_SECONDS)
        except (OperationalError, RedisError, OSError) as error:
            raise BellUnavailable(type(error).__name__) from error
