"""The console: users and what lets them in, the audit trail, the mode; studies on hold; findings to search by."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

ROLES = ("viewer", "operator", "admin")
MODES = ("running", "draining", "paused")
ACTS = (
    "SIGNED_IN",
    "SIGNED_OUT",
    "SIGN_IN_REFUSED",
    "LOCKED_OUT",
    "PASSWORD_SET",
    "USER_ADDED",
    "USER_CHANGED",
    "USER_DISABLED",
    "USER_RESET",
    "TOKEN_MADE",
    "IDENTITY_SHOWN",
    "RETRIED",
    "PRIORITIZED",
    "HELD",
    "RELEASED",
    "RETRACTED",
    "SENT_AGAIN",
    "DOWNLOADED",
    "MODE_CHANGED",
)
_BATCH = 500


def identifier() -> sa.types.TypeEngine[int]:
    """The type of keys, then and in this step."""
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def moment() -> sa.types.TypeEngine[Any]:
    """The type of times."""
    return sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables; runs that are there get their findings in columns."""
    make_users()
    make_trail()
    with op.batch_alter_table("studies") as table:
        table.add_column(sa.Column("held_at", moment(), nullable=True))
        table.add_column(sa.Column("number_digest", sa.String(64), nullable=True))
        table.add_column(sa.Column("numbered_at", moment(), nullable=True))
    op.create_index("ix_studies_number_digest", "studies", ["number_digest"])
    op.create_index("ix_studies_numbered_at", "studies", ["numbered_at"])
    op.create_index("ix_studies_last_received_at_id", "studies", ["last_received_at", "id"])
    op.create_index("ix_study_events_kind_at", "study_events", ["kind", "at"])
    with op.batch_alter_table("runs") as table:
        table.add_column(sa.Column("probability", sa.Double(), nullable=True))
    op.create_table(
        "level_findings",
        sa.Column("id", identifier(), nullable=False),
        sa.Column("run_id", identifier(), nullable=False),
        sa.Column("vertebra", sa.String(2), nullable=False),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.Column("fractured", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_level_findings_run_id"),
        sa.PrimaryKeyConstraint("id", name="pk_level_findings"),
        sa.UniqueConstraint("run_id", "vertebra", name="uq_level_findings_run_id_vertebra"),
    )
    op.create_index("ix_level_findings_vertebra_fractured", "level_findings", ["vertebra", "fractured"])
    carry_findings_over()


def make_users() -> None:
    """Users, and what lets them in."""
    op.create_table(
        "users",
        sa.Column("id", identifier(), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("role", sa.Enum(*ROLES, native_enum=False, length=16), nullable=False),
        sa.Column("sees_identity", sa.Boolean(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("password_hash", sa.String(255), nullable=True),
        sa.Column("created_at", moment(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("name", name="uq_users_name"),
    )
    for name, column in (("user_sessions", "seen_at"), ("user_tokens", "expires_at")):
        op.create_table(
            name,
            sa.Column("id", identifier(), nullable=False),
            sa.Column("digest", sa.String(64), nullable=False),
            sa.Column("user_id", identifier(), nullable=False),
            sa.Column("created_at", moment(), nullable=False),
            sa.Column(column, moment(), nullable=False),
            sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=f"fk_{name}_user_id"),
            sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
            sa.UniqueConstraint("digest", name=f"uq_{name}_digest"),
        )
        op.create_index(f"ix_{name}_user_id", name, ["user_id"])
    op.create_table(
        "set_up_links",
        sa.Column("id", identifier(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("user_id", identifier(), nullable=True),
        sa.Column("expires_at", moment(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_set_up_links_user_id"),
        sa.PrimaryKeyConstraint("id", name="pk_set_up_links"),
        sa.UniqueConstraint("digest", name="uq_set_up_links_digest"),
    )
    op.create_index("ix_set_up_links_user_id", "set_up_links", ["user_id"])
    op.create_table(
        "refused_sign_ins",
        sa.Column("id", identifier(), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("since", moment(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_refused_sign_ins"),
        sa.UniqueConstraint("key", name="uq_refused_sign_ins_key"),
    )
    op.create_index("ix_refused_sign_ins_since", "refused_sign_ins", ["since"])


def make_trail() -> None:
    """The audit trail and the mode."""
    op.create_table(
        "audit_entries",
        sa.Column("id", identifier(), nullable=False),
        sa.Column("at", moment(), nullable=False),
        sa.Column("by", sa.String(64), nullable=False),
        sa.Column("act", sa.Enum(*ACTS, native_enum=False, length=32), nullable=False),
        sa.Column("study_id", identifier(), nullable=True),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_audit_entries_study_id"),
        sa.PrimaryKeyConstraint("id", name="pk_audit_entries"),
    )
    op.create_index("ix_audit_entries_study_id", "audit_entries", ["study_id"])
    op.create_table(
        "mode_changes",
        sa.Column("id", identifier(), nullable=False),
        sa.Column("at", moment(), nullable=False),
        sa.Column("mode", sa.Enum(*MODES, native_enum=False, length=16), nullable=False),
        sa.Column("by", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_mode_changes"),
    )


def carry_findings_over() -> None:
    """The findings of earlier runs into their columns."""
    runs = sa.table("runs", sa.column("id"), sa.column("findings", sa.JSON()), sa.column("probability"))
    levels = sa.table(
        "level_findings", *(sa.column(name) for name in ("run_id", "vertebra", "probability", "fractured"))
    )
    connection = op.get_bind()
    last = 0
    query = sa.select(runs.c.id, runs.c.findings).order_by(runs.c.id).limit(_BATCH)
    while rows := connection.execute(query.where(runs.c.id > last)).all():
        for run_id, findings in rows:
            connection.execute(
                sa.update(runs).where(runs.c.id == run_id).values(probability=findings.get("probability"))
            )
            found = [
                {
                    "run_id": run_id,
                    "vertebra": level["vertebra"],
                    "probability": level["probability"],
                    "fractured": level["fractured"],
                }
                for level in findings.get("levels", ())
            ]
            if found:
                connection.execute(sa.insert(levels), found)
        last = rows[-1].id


def downgrade() -> None:
    """Drop what this step made."""
    op.drop_table("level_findings")
    op.drop_index("ix_study_events_kind_at", "study_events")
    for index in ("number_digest", "numbered_at", "last_received_at_id"):
        op.drop_index(f"ix_studies_{index}", "studies")
    with op.batch_alter_table("runs") as table:
        table.drop_column("probability")
    with op.batch_alter_table("studies") as table:
        for column in ("held_at", "number_digest", "numbered_at"):
            table.drop_column(column)
    for name in (
        "mode_changes",
        "audit_entries",
        "refused_sign_ins",
        "set_up_links",
        "user_tokens",
        "user_sessions",
        "users",
    ):
        op.drop_table(name)
