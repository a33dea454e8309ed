"""A request's place in line, when its turn came, and until when what nobody takes is kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the columns; requests of before all have the first place, and asked at a time."""
    op.add_column(
        "arcetri_request", sa.Column("place", sa.Integer(), nullable=False, server_default="0")
    )
    op.add_column("arcetri_request", sa.Column("admitted_at", _MOMENT, nullable=True))
    op.add_column("arcetri_request", sa.Column("hold_until", _MOMENT, nullable=True))
    op.create_index("ix_arcetri_request_place", "arcetri_request", ["place"])


def downgrade() -> None:
    """Drop the columns."""
    op.drop_index("ix_arcetri_request_place", "arcetri_request")
    for name in ("hold_until", "admitted_at", "place"):
        op.drop_column("arcetri_request", name)
