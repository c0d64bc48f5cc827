"""Uploads: what came by the console, the studies it belongs to, and single images with their predictions."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def identifier() -> sa.types.TypeEngine[int]:
    """The type of keys, then and in this step."""
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "uploads",
        sa.Column("id", identifier(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.String(64), nullable=False),
        sa.Column("fates", sa.JSON(), nullable=False),
        sa.Column("stop", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
    )
    op.create_table(
        "upload_studies",
        sa.Column("id", identifier(), nullable=False),
        sa.Column("upload_id", identifier(), nullable=False),
        sa.Column("study_id", identifier(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_upload_studies"),
        sa.ForeignKeyConstraint(["upload_id"], ["uploads.id"], name="fk_upload_studies_upload_id"),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_upload_studies_study_id"),
        sa.UniqueConstraint("upload_id", "study_id", name="uq_upload_studies_upload_id_study_id"),
    )
    op.create_index("ix_upload_studies_study_id", "upload_studies", ["study_id"])
    op.create_table(
        "single_images",
        sa.Column("id", identifier(), nullable=False),
        sa.Column("upload_id", identifier(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("file", sa.String(64), nullable=True),
        sa.Column("overlay", sa.String(64), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("bundle_name", sa.String(64), nullable=True),
        sa.Column("bundle_version", sa.String(32), nullable=True),
        sa.Column("bundle_sha256", sa.String(64), nullable=True),
        sa.Column("findings", sa.JSON(), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_single_images"),
        sa.ForeignKeyConstraint(["upload_id"], ["uploads.id"], name="fk_single_images_upload_id"),
    )
    op.create_index("ix_single_images_upload_id", "single_images", ["upload_id"])
    op.create_index("ix_single_images_state_id", "single_images", ["state", "id"])
    op.create_index("ix_single_images_received_at", "single_images", ["received_at"])


def downgrade() -> None:
    """Drop them; studies that were uploaded stay."""
    op.drop_table("single_images")
    op.drop_table("upload_studies")
    op.drop_table("uploads")
