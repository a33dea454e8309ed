"""Alembic migrations of Arcetri's tables; the newest must agree with ``store.tables``."""
