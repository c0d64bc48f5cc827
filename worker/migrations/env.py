"""Runs the steps on the connection of ``worker.database.migrate``, inside its transaction and under its lock."""

from alembic import context

from worker import console_records, upload_records  # noqa: F401  (their tables belong to the metadata)
from worker.records import Base

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=Base.metadata, render_as_batch=connection.dialect.name == "sqlite"
)
with context.begin_transaction():
    context.run_migrations()
