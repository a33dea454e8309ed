"""Accounts, numeric ids, requests, leases, sessions and choices."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "arcetri_account",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("issuer", sa.String(512), nullable=False),
        sa.Column("sub", sa.String(255), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("suffixed", sa.Boolean(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_arcetri_account"),
        sa.UniqueConstraint("name", name="uq_arcetri_account_name"),
        sa.UniqueConstraint("issuer", "sub", name="uq_arcetri_account_issuer_sub"),
    )
    op.create_table(
        "arcetri_posix_id",
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("key", sa.String(600), nullable=False),
        sa.Column("name", sa.String(600), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("claimed", sa.Boolean(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("kind", "key", name="pk_arcetri_posix_id"),
        sa.UniqueConstraint("kind", "number", name="uq_arcetri_posix_id_kind_number"),
    )
    op.create_table(
        "arcetri_request",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.String(36), nullable=False),
        sa.Column("username", sa.String(64), nullable=False),
        sa.Column("server_name", sa.String(255), nullable=False),
        sa.Column("charged_group", sa.String(512), nullable=False),
        sa.Column("flavor", sa.String(255), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("granted", sa.JSON(), nullable=False),
        sa.Column("asked_at", _MOMENT, nullable=False),
        sa.Column("changed_at", _MOMENT, nullable=False),
        sa.Column("ended_at", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_arcetri_request"),
        sa.ForeignKeyConstraint(
            ["account_id"], ["arcetri_account.id"], name="fk_arcetri_request_account_id"
        ),
    )
    live = sa.text("state <> 'ended'")
    op.create_index(
        "uq_arcetri_request_live_server",
        "arcetri_request",
        ["account_id", "server_name"],
        unique=True,
        sqlite_where=live,
        postgresql_where=live,
    )
    op.create_index(
        "ix_arcetri_request_account_id_ended_at", "arcetri_request", ["account_id", "ended_at"]
    )
    op.create_index("ix_arcetri_request_state", "arcetri_request", ["state"])
    op.create_table(
        "arcetri_lease",
        sa.Column("device_uuid", sa.String(128), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("flavor", sa.String(255), nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("leased_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("device_uuid", name="pk_arcetri_lease"),
        sa.UniqueConstraint("request_id", name="uq_arcetri_lease_request_id"),
        sa.ForeignKeyConstraint(
            ["request_id"], ["arcetri_request.id"], name="fk_arcetri_lease_request_id"
        ),
    )
    op.create_table(
        "arcetri_session",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("devices", sa.JSON(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("pid_start_ticks", sa.BigInteger(), nullable=False),
        sa.Column("boot_id", sa.String(64), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("base_url", sa.Text(), nullable=False),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.Column("started_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_arcetri_session"),
        sa.ForeignKeyConstraint(["id"], ["arcetri_request.id"], name="fk_arcetri_session_id"),
    )
    op.create_table(
        "arcetri_choice",
        sa.Column("account_id", sa.String(36), nullable=False),
        sa.Column("choice", sa.JSON(), nullable=False),
        sa.Column("chosen_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("account_id", name="pk_arcetri_choice"),
        sa.ForeignKeyConstraint(
            ["account_id"], ["arcetri_account.id"], name="fk_arcetri_choice_account_id"
        ),
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("choice", "session", "lease", "request", "posix_id", "account"):
        op.drop_table(f"arcetri_{table}")
