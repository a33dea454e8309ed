"""The ledger, its process and PostgreSQL are killed while they write; nothing is lost or doubled.

What is known beforehand: sessions, what agents tell of them, and which records never come. A short
form runs with the other tests; ``make soak`` sets ARCETRI_SOAK to the rounds of a long one.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from arcetri_accounting import killpoints
from arcetri_accounting.ledger import importing, retention
from arcetri_accounting.ledger.backup import backup, restore
from arcetri_accounting.ledger.corrections import Correction, correct
from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.settings import Retention
from arcetri_accounting.ledger.tables import CorrectionRow
from arcetri_accounting.ledger.verify import verify
from tests.accounting.ledger.builders import (
    T0,
    allocation,
    batch,
    ended,
    seen,
    segment,
    started,
    token_file,
)
from tests.accounting.ledger.conftest import empty
from tests.accounting.ledger.harness import Ledger
from tests.accounting.ledger.test_importing import GOOD, HEADER, lines
from tests.support.postgres import PostgresServer

SOAK = int(os.environ.get("ARCETRI_SOAK", "0"))
NODES = 3
STEP = 250_000
DURATION = 12 * STEP
LATER = T0 + 400 * retention.DAY_MS


@dataclass
class Node:
    """An agent as the ledger knows it: numbered records, kept until they are acknowledged."""

    name: str
    kept: dict[int, dict[str, Any]] = field(default_factory=dict)
    allocations: dict[str, Any] = field(default_factory=dict)
    seq: int = 0
    heartbeat: int = 0

    def body(self, chance: random.Random) -> dict[str, Any]:
        """Some of what is kept, in any order."""
        count = min(len(self.kept), chance.randint(1, 20))
        return self.of(chance.sample(sorted(self.kept), count))

    def of(self, chosen: list[int]) -> dict[str, Any]:
        """These records."""
        self.heartbeat += 1
        keys = {self.kept[seq]["allocation"] for seq in chosen}
        return batch(
            [self.kept[seq] for seq in chosen],
            *(self.allocations[key] for key in sorted(keys)),
            node=self.name,
            heartbeat=self.heartbeat,
            sent_at=LATER,
            pending=len(self.kept),
        )

    def acknowledged(self, seq: int) -> None:
        self.kept = {number: one for number, one in self.kept.items() if number > seq}


@dataclass
class World:
    """Everything that is known beforehand."""

    chance: random.Random
    nodes: list[Node] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    used: dict[str, int] = field(default_factory=dict)
    counted: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.nodes = [Node(f"n{number}") for number in range(1, NODES + 1)]

    def session(self) -> None:
        """A new session: half an hour, of which some is never told."""
        chance = self.chance
        node = chance.choice(self.nodes)
        name = f"s{len(self.used)}"
        begin = T0 + len(self.used) * 2 * DURATION
        of = allocation(name, f"GPU-{node.name}", account=f"a-{chance.randint(1, 3)}")
        node.allocations[of.key()] = of
        self.used[name] = 0
        share = 10_080
        for at in range(begin, begin + DURATION, STEP):
            if chance.random() < 0.2:
                continue
            used = chance.randint(0, share * STEP)
            node.seq += 1
            node.kept[node.seq] = segment(
                node.seq, of, at, STEP, util_ms=STEP, used_u=used, unobserved_ms=0
            )
            self.used[name] += used
        for make, at in ((started, begin), (ended, begin + DURATION)):
            place = {"node": node.name} | ({"account": of.account} if make is started else {})
            self.events.append(make(len(self.events) + 1, name, at=at, **place))


def check(ledger: Ledger, world: World) -> None:
    """Compare with what is known: every allocated millisecond once, every unit of use once."""
    allocated: Counter[str] = Counter()
    used: Counter[str] = Counter()
    for (session, *_), sums in ledger.quarters().items():
        allocated[session] += sums[0]
        used[session] += sums[2]
    assert allocated == Counter(dict.fromkeys(world.used, DURATION))
    assert {name: used[name] for name in world.used} == world.used
    assert verify(ledger.database).findings == []


def dies(work: Callable[[], object], point: str, count: int) -> bool:
    """Do the work in a process of its own that is killed at a point; whether it got there."""
    child = os.fork()
    if not child:
        code = 1
        try:
            killpoints._name, killpoints._left = point, count
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def test_a_writer_that_dies_at_any_point_loses_and_doubles_nothing(
    database: Database, url: str
) -> None:
    chance = random.Random(4)  # noqa: S311 - a test that fails is to be repeated as it was
    world = World(chance)
    hits: Counter[str] = Counter()
    rules = Retention(raw="compact", raw_days=1)
    points = [point for point in killpoints.LEDGER_POINTS if point != "ingest.committed"]
    points = [point for point in points if not point.startswith(("import", "correct", "restore"))]

    def with_ledger(work: Callable[[Ledger], object]) -> Callable[[], object]:
        def run() -> None:
            database = Database(url)
            work(Ledger(database))
            database.close()

        return run

    def deliver(node: Node, body: dict[str, Any]) -> Callable[[Ledger], None]:
        return lambda ledger: node.acknowledged(ledger.take(body, LATER).acknowledged)

    def round_(point: str) -> bool:
        world.session()
        node = chance.choice(world.nodes)
        body = node.body(chance)
        events = seen(*chance.sample(world.events, chance.randint(1, len(world.events))))
        some = deliver(node, body)
        works: list[Callable[[Ledger], object]] = [
            some,
            lambda ledger: ledger.see(events),
            lambda ledger: ledger.reconcile(LATER + retention.DAY_MS, 1),
            lambda ledger: retention.prune(ledger.database, rules, LATER),
        ]
        kind = ("ingest", "witness", "reconcile", "prune").index(point.partition(".")[0])
        died = False
        for number, work in enumerate(works):
            if number == kind and dies(with_ledger(work), point, 1):
                died = True
                if chance.random() < 0.3:
                    continue
            with_ledger(work)()
        return died

    for _ in range(max(1, SOAK // 10)):
        for point in points:
            # There is not always something to reconcile or to prune.
            hits[point] += any(round_(point) for _ in range(10))
    ledger = Ledger(database)
    for node in world.nodes:
        while node.kept:
            deliver(node, node.body(chance))(ledger)
    for _ in range(2):
        ledger.see(seen(*world.events))
        ledger.reconcile(LATER + retention.DAY_MS, 1)
        check(ledger, world)
        retention.prune(database, rules, LATER)
    check(ledger, world)
    print({"hits": dict(hits)})  # noqa: T201 - how often each point was reached
    assert all(hits[point] for point in points), hits


def test_commands_that_die_at_any_point_can_be_given_again(
    database: Database, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "_AT_ONCE", 40)
    rows = "\n".join(GOOD.replace("j1", f"j{number}") for number in range(60))
    whole = 60 * 4 * 3_600_000

    def load() -> None:
        database = Database(url)
        importing.load(database, lines(HEADER + rows), site="x", kind="batch")
        database.close()

    ledger = Ledger(database)
    for point in ("import.appended", "import.rolled_up", "import.committed"):
        for count in (1, 2):
            empty(database)
            database.close()
            assert dies(load, point, count)
            load()
            assert sum(sums[0] for sums in ledger.quarters().values()) == whole
    wanted = Correction("j1", None, 1_774_742_400_000, 1_774_742_400_777, -1, "op", "why")

    def change() -> None:
        other = Database(url)
        correct(other, wanted, 1)
        other.close()

    database.close()
    assert dies(change, "correct.appended", 1)
    assert ledger.count(CorrectionRow) == 0
    change()
    assert sum(sums[0] for sums in ledger.quarters().values()) == whole - 777
    assert verify(database).findings == []
    target = tmp_path / "b"
    backup(database, target)
    empty(database)
    database.close()

    def fill() -> None:
        other = Database(url)
        restore(other, target)
        other.close()

    assert dies(fill, "restore.filled", 1)
    fill()
    assert sum(sums[0] for sums in ledger.quarters().values()) == whole - 777
    assert verify(database).findings == []


class Served:
    """The ledger in a process of its own, which a test kills and starts again."""

    def __init__(self, url: str, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        agents = [
            {"token": f"token-n{number}", "role": "agent", "node": f"n{number}"}
            for number in range(1, NODES + 1)
        ]
        hub = {"token": "token-hub", "role": "witness", "writer": "hub"}
        self._credentials = token_file(folder / "credentials.json", *agents, hub)
        self._url = url
        self._log = (folder / "ledger.log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}/services/usage/api/v1", timeout=20
        )

    def start(self, point: str = "") -> None:
        """Start it; it dies by itself at a kill point where one is named."""
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("JUPYTERHUB")
        }
        environment[killpoints.VARIABLE] = point
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "arcetri_accounting.ledger", "serve"),
                *("--database", self._url, "--port", str(self.port)),
                *("--credentials", str(self._credentials), "--reconcile-after", "0.5"),
            ],
            stdout=self._log,
            stderr=self._log,
            env=environment,
        )

    def answers(self, patience: float = 30) -> None:
        """Wait until it does."""
        until = time.monotonic() + patience
        while time.monotonic() < until:
            try:
                if self.client.get("/health").status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        raise AssertionError("the ledger does not answer")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def died(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def close(self) -> None:
        self.kill()
        self._log.close()
        self.client.close()

    def post(self, path: str, body: dict[str, Any], token: str) -> dict[str, Any] | None:
        """Deliver, as an agent does: what is not answered is delivered again some time."""
        headers = {"Authorization": f"Bearer token-{token}"}
        try:
            answer = self.client.post(path, json=body, headers=headers)
        except httpx.HTTPError:
            return None
        if answer.status_code in (429, 503):
            return None
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@contextmanager
def dying(served: Served, chance: random.Random, after: float) -> Iterator[None]:
    """Kill the ledger a moment after the block began, whatever it does then."""
    pid = served._process.pid if served._process else 0
    killer = subprocess.Popen(["sh", "-c", f"sleep {chance.random() * after:.3f}; kill -9 {pid}"])
    try:
        yield
    finally:
        killer.wait()
        served.kill()


def test_a_ledger_that_is_killed_at_random_loses_and_doubles_nothing(
    request: pytest.FixtureRequest, database: Database, url: str, tmp_path: Path
) -> None:
    server: PostgresServer | None = None
    if url.startswith("postgresql"):
        server = request.getfixturevalue("postgres_server")
    chance = random.Random(9)  # noqa: S311 - a test that fails is to be repeated as it was
    world = World(chance)
    served = Served(url, tmp_path)
    kills: Counter[str] = Counter()
    ways = ["at random", "ingest.committed:5", "witness.committed:3", "ingest.rolled_up:7"]
    if server is not None:
        ways[2:3] = ["postgresql"]

    def deliver(rounds: int) -> None:
        for _ in range(rounds):
            world.session()
            events = seen(*world.events[-chance.randint(1, 6) :])
            served.post("/witness", events, "hub")
            for node in world.nodes:
                answer = served.post("/batches", node.body(chance), node.name)
                if answer is not None:
                    node.acknowledged(answer["acknowledged"])

    try:
        for number in range(max(len(ways), SOAK)):
            way = ways[number % len(ways)]
            served.start(way if "." in way else "")
            served.answers()
            if way == "postgresql":
                assert server is not None
                deliver(2)
                server.stop()
                deliver(1)
                server.start()
                # The same process goes on when the database is back.
                served.answers()
                deliver(1)
                served.kill()
            elif way == "at random":
                with dying(served, chance, 0.6):
                    deliver(12)
            else:
                deliver(8)
                assert served.died(), way
                served.kill()
            kills[way] += 1
        served.start()
        served.answers()
        until = time.monotonic() + 60
        while any(node.kept for node in world.nodes) and time.monotonic() < until:
            for node in world.nodes:
                lowest = sorted(node.kept)[:500]
                answer = served.post("/batches", node.of(lowest), node.name)
                if answer is not None:
                    node.acknowledged(answer["acknowledged"])
        assert not any(node.kept for node in world.nodes)
        assert served.post("/witness", seen(*world.events[:900]), "hub") is not None
        for start in range(900, len(world.events), 900):
            assert served.post("/witness", seen(*world.events[start : start + 900]), "hub")
    finally:
        served.close()
    ledger = Ledger(database)
    ledger.reconcile(int(time.time() * 1000) + retention.DAY_MS * 800, 1)
    check(ledger, world)
    print(json.dumps({"kills": kills, "sessions": len(world.used)}))  # noqa: T201 - a count
