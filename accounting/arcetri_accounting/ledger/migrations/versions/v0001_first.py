"""The ledger's first schema: segments, roll-ups, the witness, and what was set aside."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "usage_catalog",
        sa.Column("id", _ID, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("snapshot", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest", "since", name="uq_usage_catalog"),
    )
    op.create_index("ix_usage_catalog_since", "usage_catalog", ["since"], unique=False)
    op.create_table(
        "usage_discrepancy",
        sa.Column("id", _ID, nullable=False),
        sa.Column("session", sa.String(length=64), nullable=False),
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("agent_says", sa.Text(), nullable=False),
        sa.Column("witness_says", sa.Text(), nullable=False),
        sa.Column("found_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("session", "code", name="uq_usage_discrepancy"),
    )
    op.create_index("ix_usage_discrepancy_session", "usage_discrepancy", ["session"], unique=False)
    op.create_table(
        "usage_node",
        sa.Column("node", sa.String(length=255), nullable=False),
        sa.Column("epoch", sa.String(length=64), nullable=False),
        sa.Column("boot", sa.String(length=64), nullable=False),
        sa.Column("heartbeat", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("interval_ms", sa.Integer(), nullable=False),
        sa.Column("pending", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node"),
    )
    op.create_table(
        "usage_person",
        sa.Column("id", _ID, nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=True),
        sa.Column("erased_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("account"),
    )
    op.create_index("ix_usage_person_name", "usage_person", ["name"], unique=False)
    op.create_table(
        "usage_quarantine",
        sa.Column("id", _ID, nullable=False),
        sa.Column("writer", sa.String(length=255), nullable=False),
        sa.Column("epoch", sa.String(length=64), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("writer", "epoch", "seq", "sha256", name="uq_usage_quarantine"),
    )
    op.create_table(
        "usage_setting",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "usage_stream",
        sa.Column("id", _ID, nullable=False),
        sa.Column("node", sa.String(length=255), nullable=False),
        sa.Column("epoch", sa.String(length=64), nullable=False),
        sa.Column("boot", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("node", "epoch", "boot", name="uq_usage_stream"),
    )
    op.create_table(
        "usage_watermark",
        sa.Column("id", _ID, nullable=False),
        sa.Column("writer", sa.String(length=255), nullable=False),
        sa.Column("epoch", sa.String(length=64), nullable=False),
        sa.Column("contiguous", sa.BigInteger(), nullable=False),
        sa.Column("beyond", sa.JSON(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("writer", "epoch", name="uq_usage_watermark"),
    )
    op.create_table(
        "usage_witness",
        sa.Column("session", sa.String(length=64), nullable=False),
        sa.Column("node", sa.String(length=255), nullable=True),
        sa.Column("start", sa.JSON(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("started_boot", sa.String(length=64), nullable=True),
        sa.Column("started_b", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_boot", sa.String(length=64), nullable=True),
        sa.Column("ended_b", sa.BigInteger(), nullable=True),
        sa.Column("end_reason", sa.String(length=64), nullable=True),
        sa.Column("end_is_estimate", sa.Boolean(), nullable=False),
        sa.Column("reconciled_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("session"),
    )
    op.create_index("ix_usage_witness_ended_at", "usage_witness", ["ended_at"], unique=False)
    op.create_index(
        "ix_usage_witness_reconciled_at", "usage_witness", ["reconciled_at"], unique=False
    )
    op.create_index("ix_usage_witness_started_at", "usage_witness", ["started_at"], unique=False)
    op.create_table(
        "usage_dimensions",
        sa.Column("id", _ID, nullable=False),
        sa.Column("site", sa.String(length=255), nullable=False),
        sa.Column("person_id", _ID, nullable=False),
        sa.Column("group", sa.String(length=512), nullable=False),
        sa.Column("flavor", sa.String(length=255), nullable=False),
        sa.Column("flavor_type", sa.String(length=8), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("provenance", sa.String(length=16), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["usage_person.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint(
            "site",
            "person_id",
            "group",
            "flavor",
            "flavor_type",
            "kind",
            "provenance",
            "simulated",
            name="uq_usage_dimensions",
        ),
    )
    op.create_index("ix_usage_dimensions_group", "usage_dimensions", ["group"], unique=False)
    op.create_index(
        "ix_usage_dimensions_person_id", "usage_dimensions", ["person_id"], unique=False
    )
    op.create_table(
        "usage_gap",
        sa.Column("stream_id", _ID, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("t0", sa.BigInteger(), nullable=False),
        sa.Column("t1", sa.BigInteger(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["stream_id"],
            ["usage_stream.id"],
        ),
        sa.PrimaryKeyConstraint("stream_id", "seq"),
    )
    op.create_table(
        "usage_presence",
        sa.Column("stream_id", _ID, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("device", sa.String(length=255), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("parent", sa.String(length=255), nullable=False),
        sa.Column("model", sa.String(length=255), nullable=False),
        sa.Column("profile", sa.String(length=32), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("t0", sa.BigInteger(), nullable=False),
        sa.Column("dur_ms", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["stream_id"],
            ["usage_stream.id"],
        ),
        sa.PrimaryKeyConstraint("stream_id", "seq"),
    )
    op.create_index("ix_usage_presence_t0", "usage_presence", ["t0"], unique=False)
    op.create_table(
        "usage_allocation",
        sa.Column("id", _ID, nullable=False),
        sa.Column("key", sa.String(length=40), nullable=False),
        sa.Column("dimensions_id", _ID, nullable=False),
        sa.Column("session", sa.String(length=64), nullable=False),
        sa.Column("node", sa.String(length=255), nullable=False),
        sa.Column("device", sa.String(length=255), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(length=255), nullable=False),
        sa.Column("share_u", sa.Integer(), nullable=False),
        sa.Column("shared", sa.Boolean(), nullable=False),
        sa.Column("millicores", sa.Integer(), nullable=False),
        sa.Column("memory", sa.BigInteger(), nullable=False),
        sa.Column("catalog", sa.String(length=64), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("pruned_before", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["dimensions_id"],
            ["usage_dimensions.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key"),
    )
    op.create_index(
        "ix_usage_allocation_dimensions_id", "usage_allocation", ["dimensions_id"], unique=False
    )
    op.create_index("ix_usage_allocation_session", "usage_allocation", ["session"], unique=False)
    op.create_index("ix_usage_allocation_span", "usage_allocation", ["first", "last"], unique=False)
    op.create_table(
        "usage_day",
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("dimensions_id", _ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("alloc_u", sa.BigInteger(), nullable=False),
        sa.Column("used_u", sa.BigInteger(), nullable=False),
        sa.Column("util_u", sa.BigInteger(), nullable=False),
        sa.Column("occupied_u", sa.BigInteger(), nullable=False),
        sa.Column("unobserved_u", sa.BigInteger(), nullable=False),
        sa.Column("core_ms", sa.BigInteger(), nullable=False),
        sa.Column("energy_mj", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dimensions_id"],
            ["usage_dimensions.id"],
        ),
        sa.PrimaryKeyConstraint("day", "dimensions_id"),
    )
    op.create_table(
        "usage_compacted",
        sa.Column("allocation_id", _ID, nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("segments", sa.Integer(), nullable=False),
        sa.Column("covered", sa.JSON(), nullable=False),
        sa.Column("dur_ms", sa.BigInteger(), nullable=False),
        sa.Column("util_ms", sa.BigInteger(), nullable=False),
        sa.Column("used_u", sa.BigInteger(), nullable=False),
        sa.Column("occupied_ms", sa.BigInteger(), nullable=False),
        sa.Column("unobserved_ms", sa.BigInteger(), nullable=False),
        sa.Column("energy_mj", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["allocation_id"],
            ["usage_allocation.id"],
        ),
        sa.PrimaryKeyConstraint("allocation_id", "day"),
    )
    op.create_table(
        "usage_correction",
        sa.Column("id", _ID, nullable=False),
        sa.Column("allocation_id", _ID, nullable=False),
        sa.Column("t0", sa.BigInteger(), nullable=False),
        sa.Column("dur_ms", sa.BigInteger(), nullable=False),
        sa.Column("sign", sa.SmallInteger(), nullable=False),
        sa.Column("pieces", sa.JSON(), nullable=False),
        sa.Column("author", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["allocation_id"],
            ["usage_allocation.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ix_usage_correction_allocation_id", "usage_correction", ["allocation_id"], unique=False
    )
    op.create_table(
        "usage_imported",
        sa.Column("id", _ID, nullable=False),
        sa.Column("site", sa.String(length=255), nullable=False),
        sa.Column("external_id", sa.String(length=255), nullable=False),
        sa.Column("allocation_id", _ID, nullable=False),
        sa.Column("t0", sa.BigInteger(), nullable=False),
        sa.Column("dur_ms", sa.BigInteger(), nullable=False),
        sa.Column("util_ms", sa.BigInteger(), nullable=False),
        sa.Column("used_u", sa.BigInteger(), nullable=False),
        sa.Column("occupied_ms", sa.BigInteger(), nullable=False),
        sa.Column("unobserved_ms", sa.BigInteger(), nullable=False),
        sa.Column("energy_mj", sa.BigInteger(), nullable=False),
        sa.Column("mem_peak", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["allocation_id"],
            ["usage_allocation.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("site", "external_id", name="uq_usage_imported"),
    )
    op.create_index(
        "ix_usage_imported_allocation_id", "usage_imported", ["allocation_id"], unique=False
    )
    op.create_table(
        "usage_open",
        sa.Column("allocation_id", _ID, nullable=False),
        sa.Column("node", sa.String(length=255), nullable=False),
        sa.Column("t0", sa.BigInteger(), nullable=False),
        sa.Column("dur_ms", sa.BigInteger(), nullable=False),
        sa.Column("util_ms", sa.BigInteger(), nullable=False),
        sa.Column("used_u", sa.BigInteger(), nullable=False),
        sa.Column("occupied_ms", sa.BigInteger(), nullable=False),
        sa.Column("unobserved_ms", sa.BigInteger(), nullable=False),
        sa.Column("energy_mj", sa.BigInteger(), nullable=False),
        sa.Column("mem_peak", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["allocation_id"],
            ["usage_allocation.id"],
        ),
        sa.PrimaryKeyConstraint("allocation_id"),
    )
    op.create_index("ix_usage_open_node", "usage_open", ["node"], unique=False)
    op.create_table(
        "usage_quarter",
        sa.Column("allocation_id", _ID, nullable=False),
        sa.Column("quarter", sa.Integer(), nullable=False),
        sa.Column("dur_ms", sa.BigInteger(), nullable=False),
        sa.Column("mem_peak", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("alloc_u", sa.BigInteger(), nullable=False),
        sa.Column("used_u", sa.BigInteger(), nullable=False),
        sa.Column("util_u", sa.BigInteger(), nullable=False),
        sa.Column("occupied_u", sa.BigInteger(), nullable=False),
        sa.Column("unobserved_u", sa.BigInteger(), nullable=False),
        sa.Column("core_ms", sa.BigInteger(), nullable=False),
        sa.Column("energy_mj", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["allocation_id"],
            ["usage_allocation.id"],
        ),
        sa.PrimaryKeyConstraint("allocation_id", "quarter"),
    )
    op.create_index("ix_usage_quarter_quarter", "usage_quarter", ["quarter"], unique=False)
    op.create_table(
        "usage_reconciled",
        sa.Column("id", _ID, nullable=False),
        sa.Column("allocation_id", _ID, nullable=False),
        sa.Column("session", sa.String(length=64), nullable=False),
        sa.Column("t0", sa.BigInteger(), nullable=False),
        sa.Column("dur_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["allocation_id"],
            ["usage_allocation.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ix_usage_reconciled_allocation_id", "usage_reconciled", ["allocation_id"], unique=False
    )
    op.create_index("ix_usage_reconciled_session", "usage_reconciled", ["session"], unique=False)
    op.create_table(
        "usage_segment",
        sa.Column("stream_id", _ID, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("allocation_id", _ID, nullable=False),
        sa.Column("t0", sa.BigInteger(), nullable=False),
        sa.Column("dur_ms", sa.BigInteger(), nullable=False),
        sa.Column("b0", sa.BigInteger(), nullable=False),
        sa.Column("util_ms", sa.BigInteger(), nullable=False),
        sa.Column("used_u", sa.BigInteger(), nullable=True),
        sa.Column("occupied_ms", sa.BigInteger(), nullable=False),
        sa.Column("unobserved_ms", sa.BigInteger(), nullable=False),
        sa.Column("energy_mj", sa.BigInteger(), nullable=True),
        sa.Column("energy_split", sa.Boolean(), nullable=True),
        sa.Column("mem_peak", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["allocation_id"],
            ["usage_allocation.id"],
        ),
        sa.ForeignKeyConstraint(
            ["stream_id"],
            ["usage_stream.id"],
        ),
        sa.PrimaryKeyConstraint("stream_id", "seq"),
    )
    op.create_index(
        "ix_usage_segment_allocation_id", "usage_segment", ["allocation_id"], unique=False
    )
