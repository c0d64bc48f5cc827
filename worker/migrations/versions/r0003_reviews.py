"""Reviews: what readers made of results and the PACS sent back."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

REVIEW_STATES = ("RECEIVED", "READ", "UNREADABLE")


def identifier() -> sa.types.TypeEngine[int]:
    """The type of keys, then and in this step."""
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "reviews",
        sa.Column("id", identifier(), nullable=False),
        sa.Column("study_id", identifier(), nullable=False),
        sa.Column("run_id", identifier(), nullable=True),
        sa.Column("state", sa.Enum(*REVIEW_STATES, native_enum=False, length=16), nullable=False),
        sa.Column("sop_class_uid", sa.String(64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.String(255), nullable=False),
        sa.Column("transfer_syntax_uid", sa.String(64), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("calling_ae_title", sa.String(16), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=True),
        sa.Column("content", sa.JSON(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_reviews_study_id"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_reviews_run_id"),
        sa.PrimaryKeyConstraint("id", name="pk_reviews"),
        sa.UniqueConstraint(
            "study_id", "sop_instance_uid", "sha256", name="uq_reviews_study_id_sop_instance_uid_sha256"
        ),
    )
    op.create_index("ix_reviews_path", "reviews", ["path"])
    op.create_index("ix_reviews_state", "reviews", ["state"])


def downgrade() -> None:
    """Drop it; the files stay in the spool."""
    op.drop_table("reviews")
