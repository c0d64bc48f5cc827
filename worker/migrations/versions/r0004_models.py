"""Models: which bundle serves, the history of that, and what a shadow model answered."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

ROLES = ("SERVING", "SHADOW")
KINDS = ("INSTALLED", "REMOVED", "PROMOTED", "ROLLED_BACK", "SHADOW_STARTED", "SHADOW_ENDED")
SHADOW_STATES = ("RUNNING", "WAITING", "COMPARED", "FAILED")


def identifier() -> sa.types.TypeEngine[int]:
    """The type of keys, then and in this step."""
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables; the bundle of the package serves until another is promoted."""
    op.create_table(
        "model_choices",
        sa.Column("id", identifier(), nullable=False),
        sa.Column("role", sa.Enum(*ROLES, native_enum=False, length=16), nullable=False),
        sa.Column("bundle_sha256", sa.String(64), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_model_choices"),
        sa.UniqueConstraint("role", name="uq_model_choices_role"),
    )
    op.create_table(
        "model_events",
        sa.Column("id", identifier(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.Enum(*KINDS, native_enum=False, length=16), nullable=False),
        sa.Column("bundle_sha256", sa.String(64), nullable=True),
        sa.Column("by", sa.String(64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_model_events"),
    )
    op.create_table(
        "shadow_runs",
        sa.Column("id", identifier(), nullable=False),
        sa.Column("run_id", identifier(), nullable=False),
        sa.Column("bundle_sha256", sa.String(64), nullable=False),
        sa.Column("state", sa.Enum(*SHADOW_STATES, native_enum=False, length=16), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=True),
        sa.Column("agreement", sa.JSON(), nullable=True),
        sa.Column("serving_seconds", sa.Double(), nullable=True),
        sa.Column("shadow_seconds", sa.Double(), nullable=True),
        sa.Column("picture", sa.String(64), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_shadow_runs_run_id"),
        sa.PrimaryKeyConstraint("id", name="pk_shadow_runs"),
        sa.UniqueConstraint("run_id", "bundle_sha256", name="uq_shadow_runs_run_id_bundle_sha256"),
    )
    op.create_index("ix_shadow_runs_state", "shadow_runs", ["state"])


def downgrade() -> None:
    """Drop them; the bundles stay in the data folder."""
    op.drop_table("shadow_runs")
    op.drop_table("model_events")
    op.drop_table("model_choices")
