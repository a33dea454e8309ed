"""Several processes at one database: limits, leases and crashes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from arcetri_spawner.store import Account, Store
from arcetri_spawner.store.database import Database
from tests.support.builders import CMS, device, grant

_ROOT = Path(__file__).parents[3]
_PROCESSES = 3


@contextmanager
def _worker(what: str, url: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.spawner.store.workers", what, url, *arguments],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _all_at_once(what: str, url: str, *arguments: str) -> list[list[str]]:
    """What several workers, let go at the same instant, were told by the store."""
    with ExitStack() as stack:
        workers = [stack.enter_context(_worker(what, url, *arguments)) for _ in range(_PROCESSES)]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        lines = [
            line.split() for worker in workers for line in worker.communicate()[0].splitlines()
        ]
        assert [worker.returncode for worker in workers] == [0] * _PROCESSES
    return lines


async def test_no_number_of_simultaneous_requests_exceeds_a_limit(
    url: str, store: Store, alice: Account
) -> None:
    told = _all_at_once("ask", url, alice.id, "10")
    opened = {UUID(line[1]) for line in told if line[0] == "opened"}
    denied = [line[1] for line in told if line[0] == "denied"]
    assert len(told) == 60
    assert len(opened) == 3
    assert set(denied) == {"session_limit"}
    assert {session.id for session in await store.live_sessions()} == opened


async def test_a_device_is_leased_once_and_a_quota_kept(url: str, store: Store) -> None:
    ids = []
    for number in range(8):
        account = await store.account_for("i", f"s{number}", f"user{number}")
        asked = grant(account_id=account.id, username=account.name, group=CMS)
        await store.open_request(asked)
        ids.append(asked.request_id)
    told = _all_at_once("take", url, *map(str, ids))
    got = {(line[1], line[2]) for line in told if line[2] != "-"}
    assert len(told) == 48
    assert len({uuid for _, uuid in got}) == len({request for request, _ in got}) == 2
    assert {(str(request), uuid) for uuid, request in (await store.leases()).items()} == got


@pytest.mark.parametrize("seconds", [0.05, 0.3, 0.7])
async def test_a_killed_process_leaves_no_half_state(url: str, seconds: float) -> None:
    with _worker("churn", url) as worker:
        assert worker.stdout is not None
        while not worker.stdout.readline().startswith("running"):
            pass
        time.sleep(seconds)  # noqa: ASYNC251 - nothing else runs in this loop
        worker.kill()
        told = [line.split() for line in worker.stdout.read().splitlines()]
    acknowledged = [line for line in told if len(line) == 2 and len(line[1]) == 36]

    store = Store.open(url)
    live = {row.id: row for row in await store.live_requests()}
    leases = await store.leases()
    # Nothing that was acknowledged is lost, and nothing that was not is there by half.
    for what, name in acknowledged:
        if what == "ended":
            assert UUID(name) not in live
    assert set(leases.values()) <= live.keys()
    assert len(set(leases.values())) == len(leases)
    assert len(live) <= 2
    database = Database(url)
    states = dict(
        database.read(
            lambda db: [
                (row.id, row.state) for row in db.execute(text("SELECT * FROM arcetri_request"))
            ]
        )
    )
    if database.engine.dialect.name == "sqlite":
        with database.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
    database.close()
    known = {UUID(str(request)) for request in states}
    assert {UUID(name) for what, name in acknowledged if what == "opened"} <= known
    # And it goes on as if nothing had happened.
    for request_id in live:
        await store.free(request_id)
        assert await store.mark(request_id, "ended", reason="lost")
    account = await store.account_for("i", "later", "later")
    asked = grant(account_id=account.id, username=account.name)
    await store.open_request(asked)
    assert await store.lease(asked.request_id, "t4", [device(0)], quota=None) == device(0)
    store.close()
