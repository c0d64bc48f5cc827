"""Batches come in order from several processes, and what goes wrong there is told."""

import os
import signal
import subprocess
import sys
from functools import partial
from itertools import islice

import numpy as np
import pytest

from tests.conftest import PROJECT
from training.fitting.feed import Batch, Feed, FeedError


def plain_batch(step: int) -> Batch:
    return Batch(np.full((2, 3), step), {"levels": np.array([step])}, (f"step {step}",))


def failing_batch(step: int) -> Batch:
    if step == 3:
        raise ValueError("fields/a.npz is damaged")
    return plain_batch(step)


def dying_batch(step: int) -> Batch:
    if step == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain_batch(step)


def made(source):
    return source


@pytest.mark.parametrize("processes", [1, 3])
def test_batches_come_in_order_from_any_step_on_whatever_the_number_of_processes(processes):
    feed = Feed(partial(made, plain_batch), processes, first=5)
    try:
        taken = list(islice(feed, 10))
    finally:
        feed.close()
    assert [batch.truth["levels"][0] for batch in taken] == list(range(5, 15))
    assert taken[0].sources == ("step 5",)
    assert feed.waited_seconds > 0


@pytest.mark.parametrize(("source", "told", "good"), [(failing_batch, "a.npz is damaged", 3), (dying_batch, "-9", 1)])
def test_what_goes_wrong_in_a_process_is_told_after_the_batches_before_it(source, told, good):
    feed = Feed(partial(made, source), 2)
    taken = []
    try:
        with pytest.raises(FeedError, match=told):
            taken.extend(iter(feed))
    finally:
        feed.close()
    assert len(taken) <= good


def test_processes_end_when_the_trainer_is_killed(tmp_path):
    """They hold the write end of the child's standard output too: it closes when the last of them is gone."""
    program = (
        "from functools import partial\nfrom tests.training.test_feed import made, plain_batch\n"
        "from training.fitting.feed import Feed\nimport os, signal\n"
        "if __name__ == '__main__':\n"
        "    feed = Feed(partial(made, plain_batch), 2)\n    next(iter(feed))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    (tmp_path / "train.py").write_text(program)
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    command = [sys.executable, str(tmp_path / "train.py")]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
