"""What a scrape costs with ten studies and with 10,000, and what it costs to count 10,000 timelines."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from sqlalchemy import insert

from tests.worker.scripted import Workplace, workplace
from tests.worker.watched import registry_of
from worker.records import Delivery, DeliveryState, Instance, ResultObject, Run, Series, Study, StudyEvent
from worker.states import Cause, StudyState
from worker.tally import Tally

WAY = (
    (Cause.COMPLETED, StudyState.RECEIVING, StudyState.QUEUED),
    (Cause.CLAIMED, StudyState.QUEUED, StudyState.ANALYZING),
    (Cause.ANALYZED, StudyState.ANALYZING, StudyState.SENDING),
    (Cause.CLAIMED, StudyState.SENDING, StudyState.SENDING),
    (Cause.DELIVERED, StudyState.SENDING, StudyState.DELIVERED),
)
FINDINGS = {"levels": [{"vertebra": f"C{n}", "probability": 0.1, "fractured": n == 5} for n in range(1, 8)]}


def fill(place: Workplace, count: int) -> None:
    """So many delivered studies of 20 instances and 4 results, as rows."""
    start = datetime.now(UTC) - timedelta(days=100)
    ids = range(1, count + 1)
    at = {n: start + timedelta(seconds=600 * n) for n in ids}
    study = {"state": StudyState.DELIVERED, "generation": 1, "calling_ae_title": "PACS", "peer_address": "10.0.0.1"}
    instance = {"sop_class_uid": "1.2", "sha256": "0", "size_bytes": 524288, "transfer_syntax_uid": "1.2"}
    sent = {"destination": "pacs", "state": DeliveryState.ACCEPTED}
    created = {"kind": "CREATED", "old_state": None, "new_state": StudyState.RECEIVING, "generation": 1, "detail": ""}
    rows: list[tuple[type, list[dict[str, object]]]] = [
        (
            Study,
            [
                {**study, "id": n, "study_instance_uid": f"2.25.{n}", "created_at": at[n], "receiving_since": at[n]}
                | {"last_received_at": at[n]}
                for n in ids
            ],
        ),
        (Series, [{"id": n, "study_id": n, "series_instance_uid": f"2.25.1.{n}"} for n in ids]),
        (
            Instance,
            [
                {**instance, "study_id": n, "series_id": n, "sop_instance_uid": f"2.25.2.{n}.{i}", "path": f"{n}/{i}"}
                | {"received_at": at[n], "association_id": "a", "calling_ae_title": "PACS"}
                for n in ids
                for i in range(20)
            ],
        ),
        (StudyEvent, [event for n in ids for event in _timeline(n, at[n], created)]),
        (
            Run,
            [
                {
                    "id": n,
                    "study_id": n,
                    "generation": 1,
                    "created_at": at[n],
                    "bundle_name": "b",
                    "bundle_version": "1",
                }
                | {"bundle_sha256": "0", "findings": FINDINGS, "manifest": {}, "seconds": 1.0}
                for n in ids
            ],
        ),
        (
            ResultObject,
            [
                {"id": 4 * n + i, "run_id": n, "kind": "report", "variant": str(i), "sop_class_uid": "1.2"}
                | {"sop_instance_uid": f"2.25.3.{n}.{i}", "path": "p", "sha256": "0", "size_bytes": 1}
                for n in ids
                for i in range(4)
            ],
        ),
        (Delivery, [{**sent, "result_object_id": 4 * n + i} for n in ids for i in range(4)]),
    ]
    with place.database.transaction() as session:
        for table, values in rows:
            session.execute(insert(table), values)


def _timeline(study_id: int, at: datetime, created: dict[str, object]) -> list[dict[str, object]]:
    moves = [{"kind": cause, "old_state": old, "new_state": new} for cause, old, new in WAY]
    return [
        {**created, **move, "study_id": study_id, "at": at + timedelta(seconds=30 * number)}
        for number, move in enumerate([{}, *moves])
    ]


def milliseconds(work: Callable[[], object]) -> float:
    """The middle of five tries."""
    tries = []
    for _ in range(5):
        started = time.perf_counter()
        work()
        tries.append(time.perf_counter() - started)
    return sorted(tries)[2] * 1000


@pytest.mark.timeout(600)
def test_a_scrape(tmp_path: Path) -> None:
    """Print milliseconds a scrape, and a study counted."""
    for count in (10, 10_000):
        with workplace(tmp_path / str(count)) as place:
            fill(place, count)
            counting = Tally(place.database, place.settings, place.clock)
            started = time.perf_counter()
            while counting.run():
                pass
            spent = time.perf_counter() - started
            registry = registry_of(place)
            cost = milliseconds(lambda registry=registry: generate_latest(registry))  # type: ignore[misc]
            print(  # noqa: T201  (a benchmark prints)
                f"{count:>6} studies: a scrape {cost:6.1f} ms, counting {1000 * spent / count:5.2f} ms a study"
            )
