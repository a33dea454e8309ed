"""The raw text behind a request's end, and whether a start went by itself."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Add the columns; of requests of before there is no text, and no start went by itself."""
    op.add_column("arcetri_request", sa.Column("details", sa.Text(), nullable=True))
    op.add_column(
        "arcetri_request",
        sa.Column("by_itself", sa.Boolean(), nullable=False, server_default=sa.false()),
    )


def downgrade() -> None:
    """Drop the columns."""
    for name in ("by_itself", "details"):
        op.drop_column("arcetri_request", name)
