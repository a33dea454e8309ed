"""An agent, a ledger, a hub and what happens to them."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from arcetri_accounting import killpoints
from arcetri_accounting.client import Witness
from tests.accounting.crash.processes import Launcher, Process
from tests.accounting.crash.relay import Captured, Relay
from tests.accounting.crash.truth import OFFERS, Hub, Past, boottime
from tests.accounting.ledger.builders import allocation, batch, moment, segment, token_file
from tests.support.postgres import PostgresServer

INTERVAL = 0.4
NODE, OLD_NODE, WRITER = "node1", "old1", "hub"
COMMAND_POINTS = tuple(
    point for point in killpoints.LEDGER_POINTS if point.startswith(("import", "correct"))
)
LAST_POINT = "restore.filled"
SERVED_POINTS = tuple(
    point for point in killpoints.LEDGER_POINTS if point not in (*COMMAND_POINTS, LAST_POINT)
)
Steps = Generator[None, None, None]
Command = Generator[None, None, tuple[str | Path, ...]]


class Site:
    """Everything that runs, and what was done to it."""

    def __init__(
        self,
        url: str,
        folder: Path,
        launcher: Launcher,
        chance: random.Random,
        lives: tuple[tuple[float, float], ...],
        postgres: PostgresServer | None,
    ) -> None:
        self.url = url
        self.folder = folder
        self.launcher = launcher
        self.chance = chance
        self.postgres = postgres
        self.hits: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.set_aside = 0
        """Records that the ledger must have set aside."""
        self.outages: list[tuple[int, int]] = []
        """When the agent was not at work, in milliseconds of CLOCK_BOOTTIME."""
        self.out_since: int | None = boottime()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        for name in (NODE, OLD_NODE, WRITER):
            (folder / f"token-{name}").write_text(f"token-{name}\n")
        self._credentials = token_file(
            folder / "credentials.json",
            *({"token": f"token-{one}", "role": "agent", "node": one} for one in (NODE, OLD_NODE)),
            {"token": f"token-{WRITER}", "role": "witness", "writer": WRITER},
        )
        self.relay = Relay(self.port)
        self.witness = Witness(
            folder / "witness.db",
            f"{self.relay.url}/",
            folder / f"token-{WRITER}",
            writer=WRITER,
            node=NODE,
        )
        self.hub = Hub(folder / "journal", chance, self.witness.tell, lives)
        quarter = 900_000
        self._commanded = self._crashing = False
        self.past = Past((int(time.time()) - 200 * 86_400) * 1000 // quarter * quarter)
        self.ticker = Ticker()
        self.agent = self.start_agent()
        self.ledger = self.start_ledger()

    # Processes

    def start_agent(self, killpoint: str = "") -> Process:
        self.agent = self.launcher.start(
            *("arcetri-agent", "run", "--node", NODE, "--interval", str(INTERVAL)),
            *("--journal", self.folder / "journal", "--spool", self.folder / "spool" / "agent.db"),
            *("--ledger", self.relay.url, "--token-file", self.folder / f"token-{NODE}"),
            log=self.folder / "agent.log",
            killpoint=killpoint,
        )
        return self.agent

    def start_ledger(self, killpoint: str = "") -> Process:
        self.ledger = self.launcher.start(
            *("arcetri-ledger", "serve", "--database", self.url, "--port", str(self.port)),
            *("--credentials", self._credentials, "--reconcile-after", "0.3", "--raw-days", "1"),
            log=self.folder / "ledger.log",
            killpoint=killpoint,
        )
        return self.ledger

    def command(self, *arguments: str | Path, killpoint: str = "") -> Process:
        return self.launcher.start(
            *("arcetri-ledger", *arguments, "--database", self.url),
            log=self.folder / "commands.log",
            killpoint=killpoint,
        )

    def agent_gone(self) -> None:
        """Note that the agent does not work from when it ended on."""
        if self.out_since is None:
            self.out_since = self.agent.ended_at
        if self.agent.hit:
            self.hits[self.agent.hit] += 1

    def agent_works(self) -> bool:
        if self.agent.ended or '"the agent runs"' not in self.agent.said():
            assert not self.agent.ended or self.agent.hit, self.agent.said()
            return False
        if self.out_since is not None:
            self.outages.append((self.out_since, boottime()))
            self.out_since = None
        return True

    def ledger_works(self) -> bool:
        assert not self.ledger.ended or self.ledger.hit, self.ledger.said()
        return not self.ledger.ended and self.relay.healthy()

    # Time passes

    def run(self, *works: Steps, eagerness: float = 0.25) -> None:
        """Do several things at once, while sessions come and go."""
        left = list(works)
        while left:
            for work in list(left):
                try:
                    next(work)
                except StopIteration:
                    left.remove(work)
            self.hub.turn(eagerness)
            time.sleep(self.chance.uniform(0.005, 0.05))

    def rest(self, longest: float) -> Steps:
        until = time.monotonic() + self.chance.uniform(0, longest)
        while time.monotonic() < until:
            yield

    def until(self, what: str, condition: Callable[[], bool], patience: float = 120) -> Steps:
        until = time.monotonic() + patience
        while not condition():
            assert time.monotonic() < until, f"waited in vain until {what}"
            yield

    def awhile(self, condition: Callable[[], bool], patience: float = 120) -> Steps:
        """Wait for what will be looked at anyway."""
        until = time.monotonic() + patience
        while time.monotonic() < until and not condition():
            yield

    def up(self) -> Steps:
        yield from self.until("the agent works", self.agent_works)
        yield from self.until("the ledger works", self.ledger_works)

    # What happens to the agent

    def agent_dies_at(self, point: str) -> Steps:
        """It is killed at a random moment, and again at the point."""
        yield from self.agent_killed(f"{point}:{self.chance.choice((1, 1, 2, 3))}")
        yield from self.until(f"the agent is at {point}", lambda: self.agent.ended)
        assert self.agent.hit == point, self.agent.said()
        self.agent_gone()
        yield from self.rest(0.3)
        self.start_agent()
        yield from self.until("the agent works", self.agent_works)

    def agent_killed(self, then: str = "") -> Steps:
        yield from self.rest(0.5)
        if not self.agent.ended:
            self.agent.kill()
            self.done["agent killed"] += 1
        self.agent_gone()
        yield from self.rest(0.3)
        self.start_agent(then)
        if not then:
            yield from self.until("the agent works", self.agent_works)

    def agent_stopped(self) -> Steps:
        yield from self.rest(0.5)
        since = boottime()
        self.agent.signal(signal.SIGSTOP)
        yield from self.rest(self.chance.choice((0.5, 4.0)))
        self.agent.signal(signal.SIGCONT)
        self.outages.append((since, boottime()))
        self.done["agent stopped"] += 1

    def agent_ended(self) -> Steps:
        """It is asked to end, and does so in order."""
        self.agent.signal(signal.SIGTERM)
        self.out_since = boottime()
        yield from self.until("the agent has ended", lambda: self.agent.ended)
        assert self.agent.code == 0, self.agent.said()
        self.done["agent ended"] += 1
        yield from self.rest(0.3)
        self.start_agent()
        yield from self.until("the agent works", self.agent_works)

    # What happens to the ledger

    def ledger_dies_at(self, point: str) -> Steps:
        kind = point.partition(".")[0]
        if kind == "prune":
            yield from self.old_session()
        if kind == "reconcile":
            session = self.hub.start(OFFERS[-1])
            yield from self.rest(0.2)
            if session is not None and session in self.hub.open:
                self.hub.end(session)
            yield from self.until("the witness is heard", lambda: not self.witness.depth)
        self.ledger.kill()
        self.done["ledger killed"] += 1
        yield from self.rest(0.2)
        count = self.chance.choice((1, 1, 2, 3)) if kind == "ingest" else 1
        self.start_ledger(f"{point}:{count}")
        while not self.ledger.ended:
            if kind == "witness" and self.witness.depth == 0:
                self.hub.turn(1)
            yield
        assert self.ledger.hit == point, self.ledger.said()
        self.hits[point] += 1
        yield from self.ledger_started()

    def ledger_killed(self) -> Steps:
        yield from self.rest(0.8)
        self.ledger.kill()
        self.done["ledger killed"] += 1
        yield from self.ledger_started()

    def ledger_started(self) -> Steps:
        yield from self.rest(0.5)
        self.start_ledger()
        yield from self.until("the ledger works", self.ledger_works)

    def ledger_stopped(self) -> Steps:
        yield from self.rest(0.5)
        self.ledger.signal(signal.SIGSTOP)
        yield from self.rest(self.chance.choice((0.5, 3.0)))
        self.ledger.signal(signal.SIGCONT)
        self.done["ledger stopped"] += 1

    def backend_killed(self) -> Steps:
        """One of PostgreSQL's processes is killed, at work if it can be: all of it begins anew."""
        yield from self.rest(0.5)
        if self.postgres is None:
            yield from self.ledger_killed()
            return
        yield from self.until("no command runs", lambda: not self._commanded)
        self._crashing = True
        yield from self.awhile(lambda: bool(self.working()), patience=5)
        chosen = self.working()
        if chosen:
            self.done["postgresql backend killed at work"] += 1
        else:
            yield from self.until("the ledger is connected", lambda: bool(self.connected()))
            chosen = self.connected()
        self.postgres.kill_backend(self.chance.choice(chosen))
        self.done["postgresql backend killed"] += 1
        yield from self.database_back()

    def postmaster_killed(self) -> Steps:
        """PostgreSQL's first process is killed, and after a while PostgreSQL is started again."""
        yield from self.rest(0.5)
        if self.postgres is None:
            yield from self.ledger_killed()
            return
        yield from self.until("no command runs", lambda: not self._commanded)
        self._crashing = True
        yield from self.awhile(lambda: bool(self.working()), patience=5)
        self.postgres.kill_postmaster()
        self.done["postgresql postmaster killed"] += 1
        yield from self.rest(0.5)
        self.postgres.start()
        yield from self.database_back()

    def database_back(self) -> Steps:
        assert self.postgres is not None
        yield from self.until("PostgreSQL answers", self.postgres.answers)
        self._crashing = False
        yield from self.until("the ledger works", self.ledger_works)

    def connected(self) -> list[psutil.Process]:
        """PostgreSQL's processes that serve the ledger."""
        assert self.postgres is not None
        return [one for one, _ in self.postgres.backends(self.url)]

    def working(self) -> list[psutil.Process]:
        """Those of them that do something, or are in a transaction."""
        assert self.postgres is not None
        return [one for one, does in self.postgres.backends(self.url) if does != "idle"]

    def answers_lost(self) -> Steps:
        self.relay.lose_answers += 3
        yield from self.until("three answers are lost", lambda: not self.relay.lose_answers)
        self.done["answers lost"] += 3

    def redelivered(self) -> Steps:
        """What was delivered arrives again, out of order, whole or in part."""
        yield from self.rest(0.5)
        captured = list(self.relay.captured)
        for request in self.chance.sample(captured, min(len(captured), 12)):
            name = "events" if request.path.endswith("witness") else "records"
            content = request.content()
            self.chance.shuffle(content[name])
            if self.chance.random() < 0.5:
                del content[name][len(content[name]) // 2 :]
            if self.chance.random() < 0.5:
                content = request.content()
            self.deliver(request.path, request.token, content)
            self.done["redelivered"] += 1
            yield

    def contradicted(self) -> Steps:
        """A record arrives under a number that another one has: it alone is set aside."""
        found: list[tuple[Captured, int]] = []

        def some() -> bool:
            for request in list(self.relay.captured):
                content = request.content()
                if content.get("node") == NODE:
                    for number, record in enumerate(content["records"]):
                        if record["type"] == "segment":
                            found.append((request, number))
            return bool(found)

        yield from self.until("there is a segment", some)
        request, number = self.chance.choice(found)
        content = request.content()
        record = content["records"][number]
        record["t0"] += self.chance.randrange(1, 10**9)
        while not self.deliver(request.path, request.token, content):
            yield
        self.set_aside += 1
        self.done["contradicted"] += 1

    # What is told of long ago

    def old_session(self) -> Steps:
        """A node that is no more delivers a session; it is old enough to be compacted."""
        past = self.past
        number = len(past.sessions)
        name = f"past-{number}"
        of = allocation(name, "GPU-past", account="account-alice")
        begin = past.at + number * 3_600_000
        records = [segment(3 * number + k + 1, of, begin + k * 300_000) for k in range(3)]
        body = batch(records, of, node=OLD_NODE, heartbeat=number + 1, sent_at=begin)
        path = "/services/usage/api/v1/batches"
        while not self.deliver(path, f"Bearer token-{OLD_NODE}", body):
            yield
        past.sessions[name] = 900_000

    def command_dies_at(self, point: str) -> Steps:
        """An operator's command is killed, and given again."""
        arguments = yield from self.imported() if point.startswith("import") else self.corrected()
        yield from self.until("the database is there", lambda: not self._crashing)
        self._commanded = True
        count = self.chance.choice((1, 2)) if point.startswith("import") else 1
        first = self.command(*arguments, killpoint=f"{point}:{count}")
        yield from self.until(f"the command is at {point}", lambda: first.ended)
        assert first.hit == point, first.said()
        self.hits[point] += 1
        again = self.command(*arguments)
        yield from self.until("the command has ended", lambda: again.ended)
        assert again.code == 0, again.said()
        self._commanded = False

    def imported(self) -> Command:
        """A file of more rows than go into one transaction."""
        past, rows = self.past, ["external_id,start,end,user,group,flavor,gpus"]
        files = past.counts["files"]
        past.counts["files"] += 1
        for number in range(1100):
            begin = past.at - (files * 1100 + number + 1) * 60_000
            times = f"{moment(begin)},{moment(begin + 60_000)}"
            rows.append(f"job-{files}-{number},{times},alice,/g/cms,t4,1")
            past.imported += 60_000
        path = self.folder / "import.csv"
        path.write_text("\n".join(rows) + "\n")
        yield
        return "import", "--site", "elsewhere", path

    def corrected(self) -> Command:
        """A minute of an old session, less."""
        yield from self.old_session()
        name, begin = list(self.past.sessions)[-1], self.past.at
        begin += (len(self.past.sessions) - 1) * 3_600_000
        self.past.sessions[name] -= 60_000
        span = ("--from", moment(begin + 60_000), "--to", moment(begin + 120_000))
        why = ("--reason", "it was a mistake", "--author", "an operator")
        return "correct", "--session", name, *span, "--remove", *why

    # The parts

    def close(self) -> None:
        """End what runs, however the test went."""
        for one in (self.agent, self.ledger):
            if not one.ended:
                one.kill()
        self.relay.close()
        self.hub.journal.close()
        self.ticker.close()

    def deliver(self, path: str, token: str, content: dict[str, object]) -> bool:
        """Deliver something to the ledger; whether it took it."""
        answer = self.relay.send(Captured(path, token, json.dumps(content).encode()))
        assert answer is None or answer[0] in (200, 429, 503), answer
        return answer is not None and answer[0] == 200


class Ticker:
    """Notes when this machine had no time even for a thread that wants almost none."""

    def __init__(self) -> None:
        self.stalls: list[tuple[int, int]] = []
        """At which moment of CLOCK_BOOTTIME, and for how many milliseconds."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ticker")
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        before = boottime()
        while not self._stop.wait(0.05):
            now = boottime()
            if now - before > 150:
                self.stalls.append((now, now - before - 50))
            before = now


@contextmanager
def telling(witness: Witness) -> Iterator[None]:
    """Deliver what the witness is told, in a thread of its own."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(witness.run())

    def work() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)

    thread = threading.Thread(target=work, name="witness")
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(30)
        loop.close()
        witness.close()
