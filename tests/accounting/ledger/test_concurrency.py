"""Fifty agents deliver at once, some twice and over each other, while totals are read."""

from __future__ import annotations

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from arcetri_accounting.ledger import database as module
from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.tables import DayRow, QuarterRow
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
)
from tests.accounting.ledger.harness import Ledger

AGENTS = 50
RECORDS = 24
STEP = 300_000


def _agent(ledger: Ledger, number: int) -> None:
    """Deliver in pieces that overlap, in any order; two threads do it for each node."""
    chance = random.Random(number)  # noqa: S311 - the same at every run
    node = f"n{number % AGENTS}"
    of = allocation(
        f"s{node}", f"GPU-{node}", account=f"a-{int(node[1:]) % 7}", group=f"/g{int(node[1:]) % 3}"
    )
    records = [segment(seq, of, T0 + seq * STEP) for seq in range(1, RECORDS + 1)]
    chunks = [records[at : at + 8] for at in range(0, RECORDS, 5)]
    chance.shuffle(chunks)
    for heartbeat, chunk in enumerate(chunks):
        ledger.take(batch(chunk, of, node=node, heartbeat=heartbeat, sent_at=T0))


def test_fifty_agents_at_once_while_totals_are_read(ledger: Ledger, url: str) -> None:
    done = threading.Event()
    torn: list[tuple[int, int]] = []
    reads = 0

    def read() -> None:
        nonlocal reads
        other = Database(url)
        while not done.is_set():
            days, quarters = other.read(
                lambda db: (
                    db.scalar(select(func.coalesce(func.sum(DayRow.alloc_u), 0))),
                    db.scalar(select(func.coalesce(func.sum(QuarterRow.alloc_u), 0))),
                )
            )
            reads += 1
            if days != quarters:
                torn.append((int(days or 0), int(quarters or 0)))
        other.close()

    def see() -> None:
        for number in range(0, AGENTS, 5):
            name, node = f"sn{number}", f"n{number}"
            place = {"node": node, "account": f"a-{number % 7}", "group": f"/g{number % 3}"}
            begin, end = T0 + STEP, T0 + (RECORDS + 2) * STEP
            of = (f"GPU-{node}",)
            ledger.see(seen(started(1, name, begin, of, **place), epoch=name))
            ledger.see(seen(ended(2, name, end, node=node), epoch=name))
            ledger.reconcile(T0 + 10**9, 1)

    def move() -> None:
        for number, zone in enumerate(["Asia/Kathmandu", "Pacific/Auckland", "Europe/Rome"]):
            ledger.see(seen(catalog(number + 1, T0 + number, zone), epoch="zones"))

    reader = threading.Thread(target=read)
    reader.start()
    with ThreadPoolExecutor(32) as pool:
        works = [pool.submit(_agent, ledger, number) for number in range(2 * AGENTS)]
        works += [pool.submit(see), pool.submit(move)]
        for work in works:
            work.result()
    done.set()
    reader.join()
    assert torn == []
    assert reads > 0
    ledger.reconcile(T0 + 10**9, 1)
    assert verify(ledger.database).findings == []
    by_session: Counter[tuple[str, str]] = Counter()
    for (session, _, provenance, _), sums in ledger.quarters().items():
        by_session[session, provenance] += sums[0]
    for number in range(AGENTS):
        assert by_session[f"sn{number}", "agent"] == RECORDS * STEP
        witnessed = number % 5 == 0
        assert by_session[f"sn{number}", "reconciled"] == (STEP if witnessed else 0)


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
