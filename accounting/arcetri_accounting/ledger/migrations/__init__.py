"""Alembic migrations of the ledger's tables; the newest must agree with ``ledger.tables``."""
