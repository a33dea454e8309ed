from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import event, text

from arcetri_spawner.errors import Conflict, StorageFull, StoreError
from arcetri_spawner.store import Account, Store, database
from arcetri_spawner.store.database import Database
from tests.support.builders import device, grant
from tests.support.postgres import PostgresServer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "arcetri.sqlite"


def _refusal(url: str) -> StoreError:
    with pytest.raises(StoreError) as caught:
        Store.open(url)
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize(
    "url", ["", "nonsense", "mysql://root:secret@localhost/hub", "sqlite+nothing:///x"]
)
def test_a_url_that_is_none_is_refused_without_its_secret(url: str) -> None:
    error = _refusal(url)
    assert error.code == "store_url_invalid"
    assert "secret" not in str(error)


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    assert _refusal(f"sqlite:///{tmp_path}/missing/a.sqlite").code == "store_unavailable"


def test_a_file_that_is_no_database_is_said(path: Path) -> None:
    path.write_bytes(b"no database at all " * 100)
    assert _refusal(f"sqlite:///{path}").code == "store_damaged"


async def test_a_database_that_cannot_be_written_is_said(path: Path) -> None:
    Store.open(f"sqlite:///{path}").close()
    store = Store(Database(f"sqlite:///file:{path}?mode=ro&uri=true"))
    with pytest.raises(StoreError) as caught:
        await store.account_for("i", "s", "alice")
    assert caught.value.code == "store_readonly"
    store.close()


async def test_a_full_disk_refuses_and_writes_nothing(path: Path) -> None:
    url = f"sqlite:///{path}"
    Store.open(url).close()
    full = Database(url)
    # What SQLite answers when a write meets ENOSPC, without a disk of its own.
    pages = "PRAGMA max_page_count = 1"
    event.listen(full.engine, "connect", lambda connection, _: connection.execute(pages))
    store = Store(full)
    number = 0

    async def fill() -> None:
        nonlocal number
        for number in range(1000):
            await store.account_for("i", f"s{number}", f"user{number}", "x" * 4000)

    with pytest.raises(StorageFull) as caught:
        await fill()
    assert caught.value.code == "storage_full"
    assert "disk" in caught.value.message
    store.close()

    roomy = Store.open(url)
    assert await roomy.account_by_name(f"user{number}") is None
    assert number == 0 or await roomy.account_by_name(f"user{number - 1}") is not None
    assert (await roomy.account_for("i", f"s{number}", f"user{number}")).is_new
    roomy.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 1)


@pytest.mark.usefixtures("impatient")
async def test_a_locked_database_is_said_and_reading_goes_on(url: str) -> None:
    Store.open(url).close()
    other = Database(url)
    store = Store(Database(url))

    def hold() -> asyncio.Task[Account]:
        return loop.create_task(store.account_for("i", "s", "alice"))

    loop = asyncio.get_running_loop()
    with other.engine.connect() as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({database._WRITERS_LOCK})"))
        with pytest.raises(StoreError) as caught:
            await hold()
        assert await store.live_sessions() == []
    assert caught.value.code == "store_locked"
    assert (await store.account_for("i", "s", "alice")).is_new
    store.close()
    other.close()


async def test_a_call_after_the_end_is_a_store_error(url: str) -> None:
    store = Store.open(url)
    store.close()
    store.close()
    with pytest.raises(StoreError) as caught:
        await store.leases()
    assert caught.value.code == "store_closed"


async def test_a_cancelled_call_is_done_whole_or_not_at_all(store: Store, alice: Account) -> None:
    asked = grant(account_id=alice.id, username=alice.name)
    task = asyncio.create_task(store.open_request(asked))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.open_request(asked)
    assert [row.grant for row in await store.live_requests()] == [asked]


async def test_errors_hold_no_values(store: Store, alice: Account) -> None:
    asked = grant(account_id=alice.id, username="hush-hush", server_name="hush-hush")
    await store.open_request(asked)
    await store.lease(asked.request_id, "t4", [device(1)], quota=None)
    clash = "INSERT INTO arcetri_lease SELECT * FROM arcetri_lease"
    with pytest.raises(Conflict) as caught:
        store._database.write(lambda db: db.execute(text(clash)))
    assert "SIM" not in str(caught.value)
    with pytest.raises(StoreError) as odd:
        store._database.write(lambda db: db.execute(text("SELECT nothing FROM hush_hush")))
    assert "hush" not in str(odd.value)


def test_sqlite_waits_for_the_disk_at_every_commit(path: Path) -> None:
    """A lease that was answered must not be lost with the power."""
    Store.open(f"sqlite:///{path}").close()
    engine = Database(f"sqlite:///{path}").engine
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2
    engine.dispose()
    plain = sqlite3.connect(path)
    assert plain.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    plain.close()


@pytest.mark.component
async def test_a_stopped_postgresql_is_said_and_found_again(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    store = Store.open(postgres_url)
    account = await store.account_for("i", "s", "alice")
    postgres_server.stop()
    try:
        for _ in range(2):
            with pytest.raises(StoreError) as caught:
                await store.account(account.id)
            assert caught.value.code == "store_unavailable"
            assert "PostgreSQL" in caught.value.remedy
        with pytest.raises(StoreError):
            Store.open(postgres_url)
    finally:
        postgres_server.start()
    assert await store.account(account.id) is not None
    store.close()


@pytest.mark.component
async def test_a_restart_between_two_calls_is_not_noticed(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    store = Store.open(postgres_url)
    account = await store.account_for("i", "s", "alice")
    postgres_server.stop()
    postgres_server.start()
    await store.open_request(grant(account_id=account.id, username=account.name))
    assert len(await store.live_requests()) == 1
    store.close()


@pytest.mark.component
def test_a_connection_lost_inside_a_transaction_is_tried_once_more(postgres_url: str) -> None:
    Store.open(postgres_url).close()
    db = Database(postgres_url)
    tries = 0

    def lose(times: int) -> int:
        nonlocal tries
        tries = 0

        def work(session: object) -> int:
            nonlocal tries
            tries += 1
            if tries <= times:
                session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))  # type: ignore[attr-defined]  # a Session
            return tries

        return db.write(work)

    assert lose(1) == 2
    with pytest.raises(StoreError) as caught:
        lose(2)
    assert caught.value.code == "store_unavailable"
    db.close()
