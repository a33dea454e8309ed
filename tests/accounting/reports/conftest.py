"""Reports are read from SQLite and from PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from arcetri_accounting.ledger.database import Database
from tests.support.postgres import postgres_server, postgres_url

# Several suites may share the machine: how long an example takes says nothing.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

__all__ = ["postgres_server", "postgres_url"]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.component)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A ledger on each kind of database."""
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    opened = Database.open(url)
    yield opened
    opened.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Database]:
    """A ledger, where which database it is does not matter."""
    opened = Database.open(f"sqlite:///{tmp_path}/ledger.sqlite")
    yield opened
    opened.close()
