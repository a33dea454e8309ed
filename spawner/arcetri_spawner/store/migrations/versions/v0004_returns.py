"""Whether a request goes back in line when its session is ended because others need what it has."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision: str | None = "0003"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Add the column; of requests of before nobody has said anything."""
    op.add_column("arcetri_request", sa.Column("returns", sa.Boolean(), nullable=True))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("arcetri_request", "returns")
