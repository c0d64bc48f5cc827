"""Which model serves: one row that is compared and set, a history that tells who and why, a rollback that goes back."""

import multiprocessing
import os
import signal
import threading
from datetime import UTC, datetime

import pytest
from sqlalchemy import event, select

from worker import model_choice
from worker.database import Database
from worker.errors import StartupError
from worker.model_choice import Actor, ModelChoiceChanged, chosen
from worker.records import ModelChoice, ModelEvent, ModelRole

A, B, C, D = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)
ACTOR = Actor("operator", datetime(2026, 3, 1, tzinfo=UTC), "because")
SERVING, SHADOW = ModelRole.SERVING, ModelRole.SHADOW


def promote(database: Database, sha256: str | None) -> None:
    with database.transaction() as session:
        model_choice.promote(session, chosen(session, SERVING), sha256, ACTOR)


def roll_back(database: Database) -> None:
    with database.transaction() as session:
        model_choice.roll_back(session, chosen(session, SERVING), ACTOR)


def serving(database: Database) -> str | None:
    with database.reading() as session:
        return chosen(session, SERVING).sha256


def kinds(database: Database) -> list[tuple[str, str]]:
    with database.reading() as session:
        return [(row.kind.value, model_choice.named(row.bundle_sha256)) for row in model_choice.history(session)]


def test_the_built_in_model_serves_until_another_is_promoted(database: Database):
    assert serving(database) is None
    promote(database, A)
    assert serving(database) == A
    with database.reading() as session:
        row = session.scalars(select(ModelEvent)).one()
    assert (row.by, row.reason, row.at) == ("operator", "because", ACTOR.at)
    with pytest.raises(StartupError, match="serves already"):
        promote(database, A)
    promote(database, None)
    assert serving(database) is None


def test_each_rollback_goes_one_model_further_back(database: Database):
    for sha256 in (A, B, None, C):
        promote(database, sha256)
    for expected in (None, B, A, None):
        roll_back(database)
        assert serving(database) == expected
    with pytest.raises(StartupError, match="nothing to roll back to"):
        roll_back(database)
    promote(database, B)
    roll_back(database)
    assert serving(database) is None
    assert [kind for kind, _ in kinds(database)] == [*["PROMOTED"] * 4, *["ROLLED_BACK"] * 4, "PROMOTED", "ROLLED_BACK"]


def test_of_two_that_change_the_model_at_once_one_is_told(database: Database):
    with database.reading() as session:
        before = chosen(session, SERVING)
    outcomes: list[str] = []

    def change(sha256: str) -> None:
        try:
            with database.transaction() as session:
                model_choice.promote(session, before, sha256, ACTOR)
            outcomes.append("done")
        except ModelChoiceChanged:
            outcomes.append("told")

    for turn in ((A, B), (C, D)):
        threads = [threading.Thread(target=change, args=(sha256,)) for sha256 in turn]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["done", "told"]
        outcomes.clear()
        with database.reading() as session:
            before = chosen(session, SERVING)
    assert len(kinds(database)) == 2


def test_the_shadow_is_chosen_beside_the_serving_model(database: Database):
    with database.transaction() as session:
        with pytest.raises(StartupError, match="no model is the shadow"):
            model_choice.end_shadow(session, chosen(session, SHADOW), ACTOR)
        model_choice.start_shadow(session, chosen(session, SHADOW), A, ACTOR)
    promote(database, B)
    with database.transaction() as session:
        assert (chosen(session, SHADOW).sha256, chosen(session, SERVING).sha256) == (A, B)
        model_choice.end_shadow(session, chosen(session, SHADOW), ACTOR)
    with database.reading() as session:
        assert chosen(session, SHADOW).sha256 is None
    roll_back(database)
    assert serving(database) is None


def change_until(url: str, action: str, step: int) -> None:
    """Promote or roll back, and die by SIGKILL at the ``step``-th moment before or after a statement or the commit."""
    database = Database.open(url)
    taken = 0

    def watch(*_arguments: object) -> None:
        nonlocal taken
        taken += 1
        if taken == step:
            os.kill(os.getpid(), signal.SIGKILL)

    for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
        event.listen(database.engine, name, watch)
    if action == "promote":
        promote(database, B)
    else:
        roll_back(database)


def kill_at_every_step(url: str, action: str) -> None:
    """Change the model in a fork of this process that dies at the first step, the second, ... until one is through."""
    step, status = 0, -1
    while status != 0:
        step += 1
        child = os.fork()
        if child == 0:
            change_until(url, action, step)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        assert status in {0, int(signal.SIGKILL)}
        database = Database.open(url)
        found = (serving(database), len(kinds(database)))
        database.close()
        after = B if action == "promote" else None
        assert found == ((after, 2) if status == 0 else (A, 1))
    assert step > 6


@pytest.mark.parametrize("action", ["promote", "rollback"])
def test_a_change_that_is_killed_at_any_step_is_done_with_its_history_or_not_at_all(
    database: Database, database_url: str, action: str
):
    promote(database, A)
    process = multiprocessing.get_context("spawn").Process(target=kill_at_every_step, args=(database_url, action))
    process.start()
    process.join()
    assert process.exitcode == 0
    with database.reading() as session:
        assert session.scalars(select(ModelChoice)).one().revision == 2
