"""Every test of the store runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from arcetri_spawner.store import Account, Store
from tests.support.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.component)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/arcetri.sqlite"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = Store.open(url)
    yield store
    store.close()


@pytest.fixture
async def alice(store: Store) -> Account:
    return await store.account_for("https://iam.example/", "sub-alice", "alice", "Alice")


@pytest.fixture
async def bob(store: Store) -> Account:
    return await store.account_for("https://iam.example/", "sub-bob", "bob", "Bob")
