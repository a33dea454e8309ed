"""Every test of the ledger's database runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, text
from sqlalchemy.orm import Session

from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.tables import Base
from tests.accounting.ledger.harness import Ledger
from tests.support.postgres import PostgresServer, postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with tables, made once."""
    path = tmp_path_factory.mktemp("template") / "ledger.sqlite"
    Database.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture(scope="session")
def _postgres_with_tables(postgres_server: PostgresServer) -> str:
    url = postgres_server.new_database()
    Database.open(url).close()
    return url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.component)])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/empty.sqlite"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.component)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with tables."""
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("_sqlite_template")
        shutil.copy(template, tmp_path / "ledger.sqlite")
        return f"sqlite:///{tmp_path}/ledger.sqlite"
    found: str = request.getfixturevalue("_postgres_with_tables")
    database = Database(found)
    empty(database)
    database.close()
    return found


def empty(database: Database) -> None:
    """Delete everything from a database's tables: faster than another database."""
    tables = Base.metadata.sorted_tables

    def work(db: Session) -> None:
        if database.is_sqlite:
            for table in reversed(tables):
                db.execute(delete(table))
        else:
            names = ", ".join(table.name for table in tables)
            db.execute(text(f"TRUNCATE {names} RESTART IDENTITY"))

    database.write(work)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database(url)
    yield database
    database.close()


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database)
