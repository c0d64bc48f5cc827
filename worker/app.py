"""The Celery application: queues, limits and routes (started with ``-A worker.app:app``; settings of the environment).

A message is a hint, the database is the queue of record: task arguments are ids, acknowledgment is late, nothing is
retried by Celery, and a lost message is rung again by the sweep (``worker/sweeps.py``). One child process a GPU is
*spawned*, never forked: a TensorFlow operation in the parent of a fork pool hangs the child for ever.
"""

import os

from celery import Celery
from celery.signals import setup_logging

from worker.broker import embedded_url
from worker.clerk import clerk_step
from worker.health_step import health_step
from worker.logs import configure_logging
from worker.queues import (
    ANALYZE_STUDY,
    CLERK_QUEUE,
    COMPARE_RUN,
    DELIVER_STUDY,
    GPU_QUEUE,
    PREDICT_IMAGE,
    SHADOW_QUEUE,
)
from worker.settings import Settings

TASK_SECONDS = 900
"""Hard limit of one task; a study that needs longer is found by its lease, never by Celery."""


def make_app(settings: Settings) -> Celery:
    """Build the application of these settings; it opens no connection."""
    app = Celery("cspine", broker=settings.broker_url or embedded_url(settings.data_dir), include=["worker.tasks"])
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=False,  # the lease in the database decides who runs a study again
        task_track_started=False,
        task_time_limit=TASK_SECONDS,
        task_soft_time_limit=TASK_SECONDS - 60,
        task_routes={
            ANALYZE_STUDY: {"queue": GPU_QUEUE},
            DELIVER_STUDY: {"queue": CLERK_QUEUE},
            COMPARE_RUN: {"queue": SHADOW_QUEUE},
            PREDICT_IMAGE: {"queue": GPU_QUEUE},
        },
        task_create_missing_queues=True,
        task_publish_retry=False,
        worker_pool_start_method="spawn",
        worker_proc_alive_timeout=180,  # seconds: importing TensorFlow and warming the network up
        worker_prefetch_multiplier=1,
        worker_max_tasks_per_child=200,
        worker_hijack_root_logger=False,
        worker_soft_shutdown_timeout=30,
        worker_send_task_events=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": TASK_SECONDS * 4 // 3,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
            "socket_keepalive": settings.broker_url is not None,
            "health_check_interval": 10,
        },
    )
    app.steps["worker"].update([clerk_step(settings), health_step(settings)])
    return app


settings = Settings.from_environment(os.environ)
app = make_app(settings)


@setup_logging.connect
def _use_our_logging(**_arguments: object) -> None:
    """Celery leaves logging alone when this signal has a receiver."""
    configure_logging(settings)
