"""Alembic's entry: runs inside a transaction that ``ledger.migrate`` has opened."""

from __future__ import annotations

from alembic import context

from arcetri_accounting.ledger.migrate import VERSION_TABLE
from arcetri_accounting.ledger.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
