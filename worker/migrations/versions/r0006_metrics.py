"""Metrics: counters, heartbeats of processes, the failure's code in each event, reviews found by their verdict."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def identifier() -> sa.types.TypeEngine[int]:
    """The type of keys, then and in this step."""
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make what is new; events of before keep no code."""
    op.add_column("study_events", sa.Column("failure_code", sa.String(32), nullable=True))
    op.drop_index("ix_reviews_state", "reviews")
    op.create_index("ix_reviews_state_verdict", "reviews", ["state", "verdict"])
    op.create_table(
        "counters",
        sa.Column("id", identifier(), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("labels", sa.String(600), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_counters"),
        sa.UniqueConstraint("name", "labels", name="uq_counters_name_labels"),
    )
    op.create_table(
        "heartbeats",
        sa.Column("id", identifier(), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("beat_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("vitals", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_heartbeats"),
        sa.UniqueConstraint("name", name="uq_heartbeats_name"),
    )


def downgrade() -> None:
    """Drop it; nothing but the history of the figures is lost."""
    op.drop_table("heartbeats")
    op.drop_table("counters")
    op.drop_index("ix_reviews_state_verdict", "reviews")
    op.create_index("ix_reviews_state", "reviews", ["state"])
    op.drop_column("study_events", "failure_code")
