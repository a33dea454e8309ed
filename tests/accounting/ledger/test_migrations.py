from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.errors import DatabaseError
from arcetri_accounting.ledger.migrate import VERSION_TABLE
from arcetri_accounting.ledger.tables import Base


def test_the_migrations_make_the_tables_that_the_code_has(database: Database) -> None:
    with database.engine.connect() as connection:
        options = {"compare_type": True, "version_table": VERSION_TABLE}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


def test_those_that_open_at_the_same_instant_migrate_once(empty_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        for database in pool.map(lambda _: Database.open(empty_url), range(4)):
            database.close()


def test_a_database_of_a_later_version_is_refused(database: Database, url: str) -> None:
    version = text(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608 - a constant
    change = text(f"UPDATE {VERSION_TABLE} SET version_num = :version")  # noqa: S608 - a constant
    ours = database.read(lambda db: db.execute(version).scalar_one())
    database.write(lambda db: db.execute(change, {"version": "9999"}))
    try:
        with pytest.raises(DatabaseError) as caught:
            Database.open(url)
    finally:
        # Other tests use the same database on PostgreSQL.
        database.write(lambda db: db.execute(change, {"version": ours}))
    assert caught.value.code == "database_too_new"
