"""worker.migrations: they create exactly the tables of worker.records, once, however many processes start."""

import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import inspect, select, text

from tests.conftest import PROJECT
from worker.database import Database, DatabaseError, migrate
from worker.records import Base, Delivery, DeliveryState, ResultObject

FORBIDDEN_WORDS = ("patient", "birth", "sex", "accession", "name_of", "referring")


def test_the_migrated_schema_is_exactly_that_of_the_records(database: Database):
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


def test_constraints_and_indexes_have_the_names_of_the_records(database: Database):
    inspector = inspect(database.engine)
    for table in Base.metadata.sorted_tables:
        made = {constraint["name"] for constraint in inspector.get_unique_constraints(table.name)}
        made |= {key["name"] for key in inspector.get_foreign_keys(table.name)}
        made |= {index["name"] for index in inspector.get_indexes(table.name)}
        named = {str(item.name) for item in [*table.constraints, *table.indexes]} - {f"pk_{table.name}"}
        assert named <= made | {None}


def test_migrating_again_changes_nothing(database: Database):
    migrate(database)
    with database.reading() as session:
        assert session.scalar(text("SELECT count(*) FROM alembic_version")) == 1


def test_processes_that_start_together_migrate_once(database_url: str):
    command = [
        sys.executable,
        "-c",
        "import sys; from worker.database import Database, migrate; migrate(Database.open(sys.argv[1]))",
        database_url,
    ]
    processes = [subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE) for _ in range(4)]
    outcomes = [(process.communicate(timeout=120)[1], process.returncode) for process in processes]
    assert outcomes == [(b"", 0)] * 4
    database = Database.open(database_url)
    database.check()
    database.close()


FIRST_SCHEMA_ROWS = """
INSERT INTO studies (id, study_instance_uid, state, generation, priority, created_at, receiving_since,
    last_received_at, attempts, crashes, retries, calling_ae_title, peer_address)
    VALUES (7, '1.1', 'DELIVERED', 1, 0, :at, :at, :at, 2, 0, 0, 'PACS', '10.0.0.1');
INSERT INTO runs (id, study_id, generation, created_at, bundle_name, bundle_version, bundle_sha256, findings,
    manifest, seconds) VALUES (5, 7, 1, :at, 'b', '1', '0', '{}', '{}', 1.5);
INSERT INTO result_objects (id, run_id, kind, sop_class_uid, sop_instance_uid, path, sha256, size_bytes)
    VALUES (3, 5, 'report', '1.2', '2.25.1', 'a', '0', 10), (4, 5, 'summary', '1.3', '2.25.2', 'b', '1', 20);
INSERT INTO deliveries (id, result_object_id, destination, state, attempts, last_status, comment, accepted_at)
    VALUES (8, 3, 'PACS@pacs:104', 'ACCEPTED', 2, 0, 'Success', :at);
INSERT INTO deliveries (id, result_object_id, destination, state, attempts, last_status)
    VALUES (9, 4, 'PACS@pacs:104', 'REFUSED', 1, 43264)
"""


def test_rows_of_the_first_schema_are_carried_over(database_url: str):
    database = Database.open(database_url)
    config = Config()
    config.set_main_option("script_location", "worker:migrations")
    config.set_main_option("path_separator", "os")
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for statement in FIRST_SCHEMA_ROWS.split(";"):
            connection.execute(text(statement), {"at": "2026-03-01 12:00:00.000000"})
    migrate(database)
    with database.reading() as session:
        results = session.scalars(select(ResultObject).order_by(ResultObject.id)).all()
        told = [(row.id, row.kind, row.variant, row.identity, row.run.withdrawn_at) for row in results]
        sent = [
            (row.result_object_id, row.state, row.attempts, row.resends) for row in session.scalars(select(Delivery))
        ]
        accepted, refused = session.scalars(select(Delivery).order_by(Delivery.id))
    assert told == [(3, "report", "report", 0, None), (4, "summary", "summary", 0, None)]
    assert sent == [(3, DeliveryState.ACCEPTED, 2, 0), (4, DeliveryState.REFUSED, 1, 0)]
    assert accepted.accepted_at == accepted.offered_at != refused.offered_at is None
    assert (accepted.destination, refused.last_status) == ("PACS@pacs:104", 0xA900)
    with database.transaction() as session:  # keys go on after those that were carried over
        session.add(Delivery(result_object_id=4, destination="archive"))
    database.close()


def test_the_schema_of_a_newer_version_is_refused(database: Database):
    with database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseError, match="newest version"):
        migrate(database)


def test_a_failed_upgrade_leaves_no_table(database_url: str, monkeypatch: pytest.MonkeyPatch):
    database = Database.open(database_url)
    with monkeypatch.context() as patched:
        patched.setattr("alembic.op.create_index", None)
        with pytest.raises(TypeError):
            migrate(database)
    assert inspect(database.engine).get_table_names() == []
    migrate(database)
    database.check()
    database.close()


def test_no_column_is_made_for_a_patient():
    columns = [f"{table.name}.{column.name}" for table in Base.metadata.sorted_tables for column in table.columns]
    assert [column for column in columns if any(word in column for word in FORBIDDEN_WORDS)] == []


def test_every_step_has_its_revision_in_its_name():
    steps = sorted((PROJECT / "worker" / "migrations" / "versions").glob("r*.py"))
    assert [step.stem[1:5] for step in steps] == [f"{number:04}" for number in range(1, len(steps) + 1)]
    assert all(f'revision = "{step.stem[1:5]}"' in Path(step).read_text() for step in steps)
