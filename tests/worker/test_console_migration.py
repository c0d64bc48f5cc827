"""The step of the console carries the findings of earlier runs over into the columns that searches use."""

import json

from alembic import command
from alembic.config import Config
from sqlalchemy import select, text

from worker.database import Database, migrate
from worker.records import LevelFinding, Run, Study

FINDINGS = {
    "probability": 0.9,
    "levels": [
        {"vertebra": "C4", "probability": 0.125, "fractured": False, "volume_mm3": 1.0},
        {"vertebra": "C5", "probability": 0.9, "fractured": True, "volume_mm3": 1.0},
    ],
}
ROWS = (
    (
        "INSERT INTO studies (id, study_instance_uid, state, generation, priority, created_at, receiving_since,"
        " last_received_at, attempts, crashes, retries, calling_ae_title, peer_address)"
        " VALUES (7, '1.1', 'DELIVERED', 1, 0, :at, :at, :at, 2, 0, 0, 'PACS', '10.0.0.1')"
    ),
    (
        "INSERT INTO runs (id, study_id, generation, created_at, bundle_name, bundle_version, bundle_sha256, findings,"
        " manifest, seconds) VALUES (5, 7, 1, :at, 'b', '1', '0', :findings, '{}', 1.5)"
    ),
    (
        "INSERT INTO runs (id, study_id, generation, created_at, bundle_name, bundle_version, bundle_sha256, findings,"
        " manifest, seconds) VALUES (6, 7, 2, :at, 'b', '1', '0', '{}', '{}', 1.5)"
    ),
)


def test_findings_of_earlier_runs_can_be_searched_for(database_url: str):
    database = Database.open(database_url)
    config = Config()
    config.set_main_option("script_location", "worker:migrations")
    config.set_main_option("path_separator", "os")
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        for row in ROWS:
            values = {"at": "2026-03-01 12:00:00.000000", "findings": json.dumps(FINDINGS)}
            connection.execute(text(row), {name: values[name] for name in values if f":{name}" in row})
    migrate(database)
    with database.reading() as session:
        runs = [(run.id, run.probability) for run in session.scalars(select(Run).order_by(Run.id))]
        found = [
            (row.run_id, row.vertebra, row.probability, row.fractured)
            for row in session.scalars(select(LevelFinding).order_by(LevelFinding.id))
        ]
        study = session.scalars(select(Study)).one()
    assert runs == [(5, 0.9), (6, None)]
    assert found == [(5, "C4", 0.125, False), (5, "C5", 0.9, True)]
    assert (study.held_at, study.number_digest, study.numbered_at) == (None, None, None)
    database.close()


def test_the_step_can_be_taken_back(database_url: str):
    database = Database.open(database_url)
    migrate(database)
    config = Config()
    config.set_main_option("script_location", "worker:migrations")
    config.set_main_option("path_separator", "os")
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0004")
    with database.reading() as session:
        assert session.scalar(text("SELECT count(*) FROM studies")) == 0
    migrate(database)
    database.check()
    database.close()
