"""Two hubs and one real PostgreSQL: the second waits, and who lost the lock writes nothing."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from arcetri_spawner.errors import AnotherHub
from arcetri_spawner.store import Store

pytestmark = pytest.mark.component


class Second:
    """A second hub's store, which opens when it can."""

    def __init__(self, url: str) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._opening = self._pool.submit(Store.open, url, alone=True)

    def opened(self, patience: float) -> Store:
        return self._opening.result(patience)

    @property
    def is_open(self) -> bool:
        return self._opening.done()

    def close(self) -> None:
        self.opened(20).close()
        self._pool.shutdown()


def holders(url: str) -> list[int]:
    """Who holds an advisory lock for good: the processes of the server that serve them."""
    query = "SELECT DISTINCT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute(query).fetchall()]


def break_connection(url: str, pid: int) -> None:
    """Break a connection, as a restarted server or a network does."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))


async def test_a_second_hub_waits_until_the_first_has_ended(postgres_url: str) -> None:
    first = await asyncio.to_thread(Store.open, postgres_url, alone=True)
    second = Second(postgres_url)
    await first.account_for("i", "s", "alice")
    await asyncio.sleep(2.5)
    assert not second.is_open
    assert len(holders(postgres_url)) == 1

    first.close()

    opened = await asyncio.to_thread(second.opened, 20)
    assert await opened.account_by_name("alice") is not None
    second.close()
    assert holders(postgres_url) == []


async def test_who_lost_the_lock_to_another_writes_and_reads_nothing(postgres_url: str) -> None:
    first = await asyncio.to_thread(Store.open, postgres_url, alone=True)
    await first.account_for("i", "s1", "alice")
    second = Second(postgres_url)
    break_connection(postgres_url, holders(postgres_url)[0])
    opened = await asyncio.to_thread(second.opened, 20)

    for attempt in (first.account_for("i", "s2", "bruno"), first.ping(), first.leases()):
        with pytest.raises(AnotherHub) as caught:
            await attempt
        assert caught.value.code == "another_hub"
    assert await opened.account_by_name("bruno") is None
    assert await opened.account_by_name("alice") is not None

    second.close()
    await first.ping()
    assert (await first.account_for("i", "s2", "bruno")).is_new
    first.close()


async def test_a_broken_connection_is_mended_while_nobody_waits(postgres_url: str) -> None:
    store = await asyncio.to_thread(Store.open, postgres_url, alone=True)
    before = holders(postgres_url)
    break_connection(postgres_url, before[0])

    await store.account_for("i", "s", "alice")

    assert len(holders(postgres_url)) == 1
    assert holders(postgres_url) != before
    store.close()


async def test_tools_beside_the_hub_do_not_wait(postgres_url: str) -> None:
    hub = await asyncio.to_thread(Store.open, postgres_url, alone=True)
    tool = await asyncio.to_thread(Store.open, postgres_url)

    assert (await tool.account_for("i", "s", "alice")).is_new
    assert await hub.account_by_name("alice") is not None
    tool.close()
    hub.close()
