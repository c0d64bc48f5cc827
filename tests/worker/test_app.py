"""The Celery application: safe settings, no secret shown, and a parent process that never loads the network."""

import subprocess
import sys
from pathlib import Path

from worker.app import make_app
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


def test_tasks_are_acknowledged_late_serialized_as_json_and_spawned() -> None:
    conf = make_app(Settings(broker_url="redis://127.0.0.1:6379/0")).conf
    assert conf.task_acks_late
    assert conf.accept_content == ["json"]
    assert conf.worker_pool_start_method == "spawn"
    assert conf.worker_prefetch_multiplier == 1
    assert conf.task_ignore_result
    assert conf.task_routes == {
        ANALYZE_STUDY: {"queue": GPU_QUEUE},
        DELIVER_STUDY: {"queue": CLERK_QUEUE},
        COMPARE_RUN: {"queue": SHADOW_QUEUE},
        PREDICT_IMAGE: {"queue": GPU_QUEUE},
    }
    assert conf.broker_transport_options["visibility_timeout"] > conf.task_time_limit


def test_the_embedded_broker_of_the_data_folder_is_the_default(tmp_path: Path) -> None:
    app = make_app(Settings(data_dir=tmp_path))
    assert app.conf.broker_url.startswith("redis+socket://")


def test_the_parent_of_the_pool_knows_the_tasks_and_never_loads_keras(tmp_path: Path) -> None:
    code = (
        "import sys; from worker.app import app; app.loader.import_default_modules();"
        "print(sorted(name for name in app.tasks if name.startswith('worker.')));"
        "print([name for name in ('keras', 'tensorflow') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == [str(sorted([ANALYZE_STUDY, COMPARE_RUN, DELIVER_STUDY, PREDICT_IMAGE])), "[]"]
