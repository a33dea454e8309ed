"""Fifty agents deliver at once, some twice and over each other, while reports are read."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from sqlalchemy import text
from sqlalchemy.orm import Session

from arcetri_accounting.ledger import database as module
from arcetri_accounting.ledger.app import build_app
from arcetri_accounting.ledger.settings import LedgerSettings
from arcetri_accounting.ledger.verify import verify
from tests.accounting.ledger.builders import (
    T0,
    allocation,
    batch,
    catalog,
    ended,
    seen,
    segment,
    started,
    token_file,
)
from tests.accounting.ledger.harness import Ledger
from tests.accounting.reports.world import PEOPLE, NamedReaders

AGENTS = 50
TWINS = 2
"""How many deliver for each node, each all of it."""
RECORDS = 24
STEP = 300_000
MONTH = {"month": "2026-03", "view": "all"}
ROUNDING = Decimal("0.0000005")
PEOPLE_COUNT = 7


@contextmanager
def served(url: str, folder: Path) -> Iterator[str]:
    """A ledger that serves; its address, below which the API is."""
    agents = [
        {"token": f"token-n{number}", "role": "agent", "node": f"n{number}"}
        for number in range(AGENTS)
    ]
    hub = {"token": "token-hub", "role": "witness", "writer": "hub"}
    credentials = token_file(folder / "credentials.json", *agents, hub)
    app = build_app(LedgerSettings(database=url, credentials=credentials), NamedReaders(PEOPLE))
    listening = socket.create_server(("127.0.0.1", 0), backlog=256)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none", http="h11"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/services/usage/api/v1"
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()


def told_to_wait(answer: httpx.Response) -> bool:
    """Whether to ask again, as those who ask do when they are too many."""
    if answer.status_code in (429, 503):
        time.sleep(0.05)
        return True
    assert answer.status_code == 200, answer.text
    return False


def post(http: httpx.Client, path: str, token: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}"}
    while told_to_wait(answer := http.post(path, json=body, headers=headers)):
        pass
    found: dict[str, Any] = answer.json()
    return found


def deliver(address: str, number: int, together: threading.Barrier) -> None:
    """Deliver in pieces that overlap, in any order, until the ledger says that it has all."""
    chance = random.Random(number)  # noqa: S311 - the same at every run
    index = number % AGENTS
    node = f"n{index}"
    of = allocation(f"s{node}", f"GPU-{node}", **owner(index))
    records = [segment(seq, of, T0 + seq * STEP) for seq in range(1, RECORDS + 1)]
    chunks = [records[at : at + 8] for at in range(0, RECORDS, 5)]
    chance.shuffle(chunks)
    with httpx.Client(base_url=address, timeout=60) as http:
        together.wait()
        for heartbeat, chunk in enumerate(chunks):
            body = batch(chunk, of, node=node, heartbeat=heartbeat, sent_at=T0)
            answer = post(http, "/batches", f"token-{node}", body)
    assert answer["acknowledged"] == RECORDS


def owner(index: int) -> dict[str, str]:
    return {"account": f"a-{index % PEOPLE_COUNT}", "group": f"/g{index % 3}"}


class Reading:
    """Reads reports over and over, each of which has to add up by itself."""

    def __init__(self, address: str) -> None:
        self.http = httpx.Client(
            base_url=address, timeout=60, headers={"Authorization": "Bearer dario"}
        )
        self.done = threading.Event()
        self.answers: Counter[str] = Counter()

    def get(self, path: str, **params: str) -> Any:
        while told_to_wait(answer := self.http.get(path, params=MONTH | params)):
            pass
        return answer.json()

    def run(self) -> None:
        """Read until it is done; what does not add up ends it."""
        for look in cycle((self.by_user, self.sessions, self.by_day)):
            look()
            if self.done.wait(0.02) and len(self.answers) == 3:
                return

    def by_user(self) -> None:
        self._adds_up("user")

    def by_day(self) -> None:
        self._adds_up("day")

    def _adds_up(self, by: str) -> None:
        found = self.get("/report", by=by)
        for name in ("allocated_gpu_hours", "unobserved_gpu_hours", "reconciled_gpu_hours"):
            rows = [Decimal(row[name]) for row in found["rows"]]
            whole = Decimal(found["total"][name])
            assert abs(sum(rows) - whole) <= ROUNDING * (len(rows) + 1), (by, name, found)
        self.answers[by] += bool(found["rows"])

    def sessions(self) -> None:
        found = self.get("/sessions", limit="200")
        assert found["count"] == len(found["sessions"]) <= AGENTS
        most = Decimal((RECORDS + 1) * STEP) / 3_600_000
        for session in found["sessions"]:
            assert Decimal(session["allocated_gpu_hours"]) <= most + ROUNDING
        self.answers["sessions"] += bool(found["sessions"])


def witness(address: str, reconcile: Callable[[], object]) -> None:
    """Tell of every fifth session, which lasted a step longer than its agent says."""
    with httpx.Client(base_url=address, timeout=60) as http:
        for index in range(0, AGENTS, 5):
            name, node = f"sn{index}", f"n{index}"
            begin, end = T0 + STEP, T0 + (RECORDS + 2) * STEP
            person = {"username": str(index % PEOPLE_COUNT), **owner(index)}
            start = started(1, name, begin, (f"GPU-{node}",), node=node, **person)
            post(http, "/witness", "token-hub", seen(start, epoch=name))
            post(http, "/witness", "token-hub", seen(ended(2, name, end, node=node), epoch=name))
            reconcile()


def move(address: str) -> None:
    """Move the site from zone to zone, so that its days are made anew."""
    with httpx.Client(base_url=address, timeout=60) as http:
        for number, zone in enumerate(["Asia/Kathmandu", "Pacific/Auckland", "Europe/Rome"]):
            holds = catalog(number + 1, T0 + number, zone)
            post(http, "/witness", "token-hub", seen(holds, epoch="zones"))


def test_fifty_agents_at_once_while_reports_are_read(
    ledger: Ledger, url: str, tmp_path: Path
) -> None:
    together = threading.Barrier(TWINS * AGENTS)
    with served(url, tmp_path) as address, ThreadPoolExecutor(TWINS * AGENTS + 4) as pool:
        readings = [Reading(address) for _ in range(2)]
        reading = [pool.submit(one.run) for one in readings]
        works = [
            pool.submit(deliver, address, number, together) for number in range(TWINS * AGENTS)
        ]
        works += [
            pool.submit(witness, address, lambda: ledger.reconcile(T0 + 10**9, 1)),
            pool.submit(move, address),
        ]
        try:
            for work in works:
                work.result(120)
        finally:
            for one in readings:
                one.done.set()
        for work in reading:
            work.result(60)
        ledger.reconcile(T0 + 10**9, 1)
        by_user = readings[0].get("/report", by="user")
        listed = readings[0].get("/sessions", limit="200")
        for one in readings:
            one.http.close()
            assert set(one.answers) == {"user", "day", "sessions"}
    exact(ledger)
    expected: Counter[str] = Counter()
    for index in range(AGENTS):
        expected[str(index % PEOPLE_COUNT)] += (RECORDS + (index % 5 == 0)) * STEP
    assert {row["key"]: Decimal(row["allocated_gpu_hours"]) for row in by_user["rows"]} == {
        name: round(Decimal(whole) / 3_600_000, 6) for name, whole in expected.items()
    }
    assert listed["count"] == AGENTS


def exact(ledger: Ledger) -> None:
    """Compare every session with what is known of it."""
    assert verify(ledger.database).findings == []
    by_session: Counter[tuple[str, str]] = Counter()
    for (session, _, provenance, _), sums in ledger.quarters().items():
        by_session[session, provenance] += sums[0]
    for index in range(AGENTS):
        assert by_session[f"sn{index}", "agent"] == RECORDS * STEP
        witnessed = index % 5 == 0
        assert by_session[f"sn{index}", "reconciled"] == (STEP if witnessed else 0)


def test_a_delivery_comes_after_those_who_read_but_does_not_wait_for_ever(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    reading, read = threading.Event(), threading.Event()

    def report(db: object) -> None:
        del db
        reading.set()
        read.wait(60)
        order.append("read")

    def deliver() -> None:
        with ledger.database.turn():
            order.append("stored")

    monkeypatch.setattr(module, "_COURTESY", 60)
    with ThreadPoolExecutor(2) as pool:
        reader = pool.submit(ledger.database.read, report)
        reading.wait(60)
        delivery = pool.submit(deliver)
        with pytest.raises(TimeoutError):
            delivery.result(0.2)
        read.set()
        reader.result(60)
        delivery.result(60)
    assert order == ["read", "stored"]

    # Neither does one that has begun go on beside them.
    reading.clear()
    read.clear()
    begun = threading.Event()

    def store(db: Session) -> None:
        db.execute(text("SELECT 1"))
        begun.set()
        reading.wait(60)
        db.execute(text("SELECT 1"))
        order.append("stored")

    def deliver_slowly() -> None:
        with ledger.database.turn():
            ledger.database.write(store)

    with ThreadPoolExecutor(2) as pool:
        delivery = pool.submit(deliver_slowly)
        begun.wait(60)
        reader = pool.submit(ledger.database.read, report)
        with pytest.raises(TimeoutError):
            delivery.result(0.2)
        read.set()
        reader.result(60)
        delivery.result(60)
    assert order[2:] == ["read", "stored"]

    monkeypatch.setattr(module, "_COURTESY", 0.05)
    reading.clear()
    read.clear()
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(ledger.database.read, report)
        reading.wait(60)
        deliver()
        assert order[-1] == "stored"
        read.set()
        reader.result(60)
