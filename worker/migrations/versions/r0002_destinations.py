"""Several destinations: variants and identities of results, withdrawn runs, tracked deliveries, storage commitments."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

DELIVERY_STATES = ("PENDING", "ACCEPTED", "CONFIRMED", "REFUSED", "WITHDRAWN")
COMMITMENT_STATES = ("REQUESTED", "FAILED", "REPORTED", "CONCLUDED")
KEPT = "result_object_id, destination, state, attempts, last_status, comment, accepted_at"


def identifier() -> sa.types.TypeEngine[int]:
    """The type of keys, then and in this step."""
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def utc() -> sa.DateTime:
    """The type of times."""
    return sa.DateTime(timezone=True)


def state(names: tuple[str, ...]) -> sa.Enum:
    """The type of states: a short string."""
    return sa.Enum(*names, native_enum=False, length=16)


def upgrade() -> None:
    """Add what is new and carry every row over; deliveries are set aside, for SQLite rebuilds what they refer to."""
    op.create_index("ix_studies_state_not_before", "studies", ["state", "not_before"])
    op.add_column("runs", sa.Column("withdrawn_at", utc(), nullable=True))
    op.execute("CREATE TABLE deliveries_0001 AS SELECT * FROM deliveries")
    op.drop_table("deliveries")
    _results()
    _deliveries()
    op.execute(
        f"INSERT INTO deliveries ({KEPT}, retries, resends, offered_at) "  # noqa: S608 (names of this file)
        f"SELECT {KEPT}, 0, 0, accepted_at FROM deliveries_0001 ORDER BY id"
    )
    op.drop_table("deliveries_0001")
    _commitments()


def downgrade() -> None:
    """There is no way back: results of one kind may have several variants now."""
    raise NotImplementedError("restore the backup of the older version")


def _results() -> None:
    op.add_column("result_objects", sa.Column("variant", sa.String(64), nullable=True))
    op.add_column("result_objects", sa.Column("identity", sa.Integer(), nullable=True))
    op.execute("UPDATE result_objects SET variant = kind, identity = 0")
    with op.batch_alter_table("result_objects") as table:
        table.alter_column("variant", existing_type=sa.String(64), nullable=False)
        table.alter_column("identity", existing_type=sa.Integer(), nullable=False)
        table.drop_constraint("uq_result_objects_run_id_kind", type_="unique")
        table.create_unique_constraint("uq_result_objects_run_id_variant_identity", ["run_id", "variant", "identity"])


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", identifier(), nullable=False),
        sa.Column("result_object_id", identifier(), nullable=False),
        sa.Column("destination", sa.String(300), nullable=False),
        sa.Column("state", state(DELIVERY_STATES), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.Column("resends", sa.Integer(), nullable=False),
        sa.Column("first_failed_at", utc(), nullable=True),
        sa.Column("next_try_at", utc(), nullable=True),
        sa.Column("offered_at", utc(), nullable=True),
        sa.Column("accepted_at", utc(), nullable=True),
        sa.Column("confirmed_at", utc(), nullable=True),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("comment", sa.String(255), nullable=True),
        sa.Column("failure_code", sa.String(32), nullable=True),
        sa.ForeignKeyConstraint(["result_object_id"], ["result_objects.id"], name="fk_deliveries_result_object_id"),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.UniqueConstraint("result_object_id", "destination", name="uq_deliveries_result_object_id_destination"),
    )
    op.create_index("ix_deliveries_state_next_try_at", "deliveries", ["state", "next_try_at"])


def _commitments() -> None:
    op.create_table(
        "commitments",
        sa.Column("id", identifier(), nullable=False),
        sa.Column("transaction_uid", sa.String(64), nullable=False),
        sa.Column("study_id", identifier(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("destination", sa.String(300), nullable=False),
        sa.Column("ae_title", sa.String(16), nullable=False),
        sa.Column("state", state(COMMITMENT_STATES), nullable=False),
        sa.Column("instances", sa.JSON(), nullable=False),
        sa.Column("report", sa.JSON(), nullable=True),
        sa.Column("requested_at", utc(), nullable=False),
        sa.Column("due_at", utc(), nullable=False),
        sa.Column("reported_at", utc(), nullable=True),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_commitments_study_id"),
        sa.PrimaryKeyConstraint("id", name="pk_commitments"),
        sa.UniqueConstraint("transaction_uid", name="uq_commitments_transaction_uid"),
    )
    op.create_index("ix_commitments_study_id_destination", "commitments", ["study_id", "destination"])
    op.create_index("ix_commitments_state", "commitments", ["state"])
