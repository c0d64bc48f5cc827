"""The first schema: studies, series, instances, events, runs, results, deliveries."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

STATES = ("RECEIVING", "QUEUED", "ANALYZING", "SENDING", "DELIVERED", "SKIPPED", "FAILED")
DELIVERY_STATES = ("PENDING", "ACCEPTED", "REFUSED")


def identifier() -> sa.types.TypeEngine[int]:
    """The type of keys, then and in this step."""
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def utc() -> sa.DateTime:
    """The type of times."""
    return sa.DateTime(timezone=True)


def state(names: tuple[str, ...] = STATES) -> sa.Enum:
    """The type of states: a short string."""
    return sa.Enum(*names, native_enum=False, length=16)


def upgrade() -> None:
    """Create every table."""
    _studies()
    _received()
    _events()
    _results()


def downgrade() -> None:
    """Drop every table."""
    for table in ("deliveries", "result_objects", "instances", "study_events", "series", "runs", "studies"):
        op.drop_table(table)


def _studies() -> None:
    op.create_table(
        "studies",
        sa.Column("id", identifier(), nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("state", state(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("created_at", utc(), nullable=False),
        sa.Column("receiving_since", utc(), nullable=False),
        sa.Column("last_received_at", utc(), nullable=False),
        sa.Column("completed_by", sa.String(16), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("crashes", sa.Integer(), nullable=False),
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.Column("first_failed_at", utc(), nullable=True),
        sa.Column("lease_token", sa.String(36), nullable=True),
        sa.Column("lease_expires_at", utc(), nullable=True),
        sa.Column("progress", sa.String(64), nullable=True),
        sa.Column("progressed_at", utc(), nullable=True),
        sa.Column("not_before", utc(), nullable=True),
        sa.Column("dispatched_at", utc(), nullable=True),
        sa.Column("failure_code", sa.String(32), nullable=True),
        sa.Column("failure_text", sa.Text(), nullable=True),
        sa.Column("calling_ae_title", sa.String(16), nullable=False),
        sa.Column("peer_address", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_studies"),
        sa.UniqueConstraint("study_instance_uid", name="uq_studies_study_instance_uid"),
    )
    op.create_index("ix_studies_lease_expires_at", "studies", ["lease_expires_at"])
    op.create_index("ix_studies_state_last_received_at", "studies", ["state", "last_received_at"])
    op.create_index("ix_studies_state_priority_created_at", "studies", ["state", "priority", "created_at"])


def _received() -> None:
    op.create_table(
        "series",
        sa.Column("id", identifier(), nullable=False),
        sa.Column("study_id", identifier(), nullable=False),
        sa.Column("series_instance_uid", sa.String(64), nullable=False),
        sa.Column("modality", sa.String(16), nullable=True),
        sa.Column("chosen", sa.Boolean(), nullable=True),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_series_study_id"),
        sa.PrimaryKeyConstraint("id", name="pk_series"),
        sa.UniqueConstraint("study_id", "series_instance_uid", name="uq_series_study_id_series_instance_uid"),
    )
    op.create_table(
        "instances",
        sa.Column("id", identifier(), nullable=False),
        sa.Column("study_id", identifier(), nullable=False),
        sa.Column("series_id", identifier(), nullable=False),
        sa.Column("sop_class_uid", sa.String(64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.String(255), nullable=False),
        sa.Column("transfer_syntax_uid", sa.String(64), nullable=False),
        sa.Column("received_at", utc(), nullable=False),
        sa.Column("association_id", sa.String(64), nullable=False),
        sa.Column("calling_ae_title", sa.String(16), nullable=False),
        sa.Column("revision", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name="fk_instances_series_id"),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_instances_study_id"),
        sa.PrimaryKeyConstraint("id", name="pk_instances"),
        sa.UniqueConstraint(
            "study_id", "sop_instance_uid", "sha256", name="uq_instances_study_id_sop_instance_uid_sha256"
        ),
    )
    op.create_index("ix_instances_path", "instances", ["path"])
    op.create_index("ix_instances_series_id", "instances", ["series_id"])


def _events() -> None:
    op.create_table(
        "study_events",
        sa.Column("id", identifier(), nullable=False),
        sa.Column("study_id", identifier(), nullable=False),
        sa.Column("at", utc(), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("old_state", state(), nullable=True),
        sa.Column("new_state", state(), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_study_events_study_id"),
        sa.PrimaryKeyConstraint("id", name="pk_study_events"),
    )
    op.create_index("ix_study_events_study_id", "study_events", ["study_id"])


def _results() -> None:
    op.create_table(
        "runs",
        sa.Column("id", identifier(), nullable=False),
        sa.Column("study_id", identifier(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("created_at", utc(), nullable=False),
        sa.Column("bundle_name", sa.String(64), nullable=False),
        sa.Column("bundle_version", sa.String(32), nullable=False),
        sa.Column("bundle_sha256", sa.String(64), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_runs_study_id"),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("study_id", "generation", name="uq_runs_study_id_generation"),
    )
    op.create_table(
        "result_objects",
        sa.Column("id", identifier(), nullable=False),
        sa.Column("run_id", identifier(), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("sop_class_uid", sa.String(64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("path", sa.String(255), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_result_objects_run_id"),
        sa.PrimaryKeyConstraint("id", name="pk_result_objects"),
        sa.UniqueConstraint("run_id", "kind", name="uq_result_objects_run_id_kind"),
    )
    op.create_index("ix_result_objects_sop_instance_uid", "result_objects", ["sop_instance_uid"])
    op.create_table(
        "deliveries",
        sa.Column("id", identifier(), nullable=False),
        sa.Column("result_object_id", identifier(), nullable=False),
        sa.Column("destination", sa.String(300), nullable=False),
        sa.Column("state", state(DELIVERY_STATES), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("comment", sa.String(255), nullable=True),
        sa.Column("accepted_at", utc(), nullable=True),
        sa.ForeignKeyConstraint(["result_object_id"], ["result_objects.id"], name="fk_deliveries_result_object_id"),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.UniqueConstraint("result_object_id", "destination", name="uq_deliveries_result_object_id_destination"),
    )
