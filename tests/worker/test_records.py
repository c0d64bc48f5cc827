"""worker.records: what the tables refuse, and insertion that many may try."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from tests.worker.conftest import FakeClock
from worker import studies
from worker.database import Database
from worker.records import Delivery, DeliveryState, ResultObject, Run, Series, Study, insert_once
from worker.studies import Arrival

NOW = FakeClock()()


def new_study(database: Database, uid: str = "1.1") -> int:
    with database.transaction() as session:
        study_id = studies.create(session, Arrival(uid, "PACS", "127.0.0.1", NOW))
    assert study_id is not None
    return study_id


def make_run(study_id: int) -> Run:
    return Run(
        study_id=study_id,
        generation=1,
        created_at=NOW,
        bundle_name="b",
        bundle_version="1",
        bundle_sha256="0" * 64,
        findings={"levels": [1, 2], "text": "Ünïcode"},
        manifest={},
        seconds=1.25,
        results=[
            ResultObject(
                kind="SEG",
                variant="seg",
                sop_class_uid="1.2",
                sop_instance_uid="2.25.1",
                path="a",
                sha256="0",
                size_bytes=2**40,
            )
        ],
    )


def test_a_row_is_inserted_once_however_many_try(database: Database):
    study_id = new_study(database)

    def attempt(_: int) -> int | None:
        with database.transaction() as session:
            return insert_once(session, Series, {"study_id": study_id, "series_instance_uid": "1.2"})

    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(attempt, range(16)))
    assert len([key for key in keys if key is not None]) == 1


def test_a_run_and_its_results_come_back_as_written(database: Database):
    study_id = new_study(database)
    with database.transaction() as session:
        session.add(make_run(study_id))
    with database.reading() as session:
        run = session.scalars(select(Run)).one()
        assert run.findings == {"levels": [1, 2], "text": "Ünïcode"}
        assert run.seconds == 1.25
        assert run.results[0].size_bytes == 2**40


def test_a_destination_has_one_delivery_of_an_object(database: Database):
    study_id = new_study(database)
    with database.transaction() as session:
        run = make_run(study_id)
        run.results[0].deliveries = [Delivery(destination="PACS@pacs:104")]
        session.add(run)
    with database.reading() as session:
        delivery = session.scalars(select(Delivery)).one()
        assert delivery.state is DeliveryState.PENDING
        assert delivery.attempts == 0
        result_id = delivery.result_object_id
    with pytest.raises(IntegrityError), database.transaction() as session:
        session.add(Delivery(result_object_id=result_id, destination="PACS@pacs:104"))


def test_states_are_short_words_in_the_tables(database: Database):
    study_id = new_study(database)
    with database.reading() as session:
        assert session.scalar(text("SELECT state FROM studies")) == "RECEIVING"
    with pytest.raises(SQLAlchemyError), database.transaction() as session:
        session.execute(Study.__table__.update().where(Study.id == study_id).values(state="DONE"))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.datetimes(timezones=st.integers(-720, 840).map(lambda m: timezone(timedelta(minutes=m)))).filter(
        lambda value: 1900 < value.year < 9000
    )
)
def test_every_time_survives_the_round_trip(database: Database, at):
    study_id = new_study_or_only(database)
    with database.transaction() as session:
        session.get_one(Study, study_id).not_before = at
    with database.reading() as session:
        assert session.get_one(Study, study_id).not_before == at
        assert session.scalar(select(Study.id).where(Study.not_before == at)) == study_id


def new_study_or_only(database: Database) -> int:
    with database.reading() as session:
        found = session.scalar(select(Study.id))
    return found if found is not None else new_study(database)
