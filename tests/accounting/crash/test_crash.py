"""The whole of accounting under kill -9: agent, ledger and PostgreSQL, against a known truth.

A hub starts and ends sessions; an agent on a node with known devices follows its journal; a witness
tells a ledger of them. Meanwhile each of them is killed, stopped, cut off and repeated, at random
moments and at every kill point. In the end every allocated millisecond is in the ledger once.

A short form runs with the other tests; ``make soak`` sets ARCETRI_SOAK to the rounds of a long one,
and ARCETRI_SEED repeats one.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from arcetri_accounting import killpoints
from arcetri_accounting.client import witness as witness_module
from arcetri_accounting.ledger.database import Database
from tests.accounting.crash import check
from tests.accounting.crash.check import Books
from tests.accounting.crash.processes import Launcher, launching
from tests.accounting.crash.site import (
    COMMAND_POINTS,
    LAST_POINT,
    SERVED_POINTS,
    Site,
    Steps,
    telling,
)
from tests.accounting.crash.truth import MACHINE
from tests.support.nvml import FakeMachine, remove
from tests.support.postgres import PostgresServer, postgres_server

__all__ = ["postgres_server"]

SOAK = int(os.environ.get("ARCETRI_SOAK", "0"))
SEED = int(os.environ.get("ARCETRI_SEED", "20261"))
SHORT = ((0.02, 0.5), (0.5, 3), (3, 12))
LONG = (*SHORT, *SHORT, *SHORT, (12, 60), (60, 400))

pytestmark = [pytest.mark.component, pytest.mark.timeout(300 + 8 * SOAK)]


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    machine = FakeMachine(tmp_path_factory.mktemp("nvml") / "machine")
    machine.has(MACHINE)
    with launching(machine.environment()) as made:
        yield made
    remove()


def faults(site: Site) -> list[list[Callable[[], Steps]]]:
    """What happens to the agent, to the ledger, and beside them, shuffled; each once."""
    decks: list[list[Callable[[], Steps]]] = [
        [
            *(lambda point=point: site.agent_dies_at(point) for point in killpoints.AGENT_POINTS),
            *(site.agent_killed, site.agent_stopped, site.agent_ended),
        ],
        [
            *(lambda point=point: site.ledger_dies_at(point) for point in SERVED_POINTS),
            *(site.ledger_killed, site.ledger_stopped),
            *(site.backend_killed, site.postmaster_killed),
        ],
        [
            *(lambda point=point: site.command_dies_at(point) for point in COMMAND_POINTS),
            *(site.answers_lost, site.redelivered, site.contradicted),
        ],
    ]
    for deck in decks:
        site.chance.shuffle(deck)
    return decks


def disturb(site: Site, rounds: int) -> int:
    """Play so many rounds, and as many more as it takes until everything happened as often."""
    played = 0
    while not played or played < rounds:
        decks = faults(site)
        while any(decks):
            site.run(*(deck.pop()() for deck in decks if deck))
            site.run(site.up())
            played += 1
    return played


def settle(site: Site, books: Books) -> None:
    """Let everything arrive, and end all processes in order."""
    site.hub.end_all()
    site.run(site.agent_ended(), eagerness=0)
    site.run(site.awhile(lambda: check.delivered(books, site)), eagerness=0)
    site.run(site.until("the witness is heard", lambda: not site.witness.depth), eagerness=0)
    site.run(site.redelivered(), site.contradicted(), eagerness=0)
    site.agent.signal(15)
    assert site.agent.wait(30) == 0
    site.ledger.signal(15)
    assert site.ledger.wait(30) in (0, -15), site.ledger.said()
    done = site.command("reconcile", "--after", "0.001")
    assert done.wait(600) == 0, done.said()


def examine(site: Site, books: Books) -> None:
    check.totals(books, site)
    check.clean(books, site)
    check.used(books)
    done = site.command("verify")
    assert done.wait(600) == 0, done.said()


def restored(site: Site, url: str) -> None:
    """A backup, a restore that is killed, and another one: it is all there again."""
    file = site.folder / "backup"
    done = site.command("backup", file)
    assert done.wait(600) == 0, done.said()
    site.url = url
    first = site.command("restore", file, killpoint=LAST_POINT)
    first.wait(600)
    assert first.hit == LAST_POINT, first.said()
    site.hits[LAST_POINT] += 1
    again = site.command("restore", file)
    assert again.wait(600) == 0, again.said()
    books = Books(url)
    examine(site, books)
    books.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_nothing_is_lost_or_counted_twice(
    kind: str,
    request: pytest.FixtureRequest,
    launcher: Launcher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    postgres: PostgresServer | None = None
    if kind == "postgresql":
        postgres = request.getfixturevalue("postgres_server")
        url, other = postgres.new_database(), postgres.new_database()
    else:
        url, other = (f"sqlite:///{tmp_path}/{name}.sqlite" for name in ("ledger", "other"))
    monkeypatch.setattr(witness_module, "_PAUSE", (0.1, 0.5))
    monkeypatch.setattr(witness_module, "_GATHER", 0.05)
    chance = random.Random(SEED)  # noqa: S311 - a test that fails is to be repeated as it was
    say(capsys, {"database": kind, "seed": SEED})
    Database.open(url).close()
    site = Site(url, tmp_path, launcher, chance, LONG if SOAK else SHORT, postgres)
    books = Books(url)
    try:
        # A ledger that is away is what the witness would tell of, all the time.
        with capture_logs(), telling(site.witness):
            site.run(site.up())
            rounds = disturb(site, SOAK)
            settle(site, books)
        examine(site, books)
        missed, whole, worst = check.unobserved(books, site)
        restored(site, other)
    finally:
        site.close()
        books.close()
        say(capsys, {"hits": dict(site.hits), "done": dict(site.done)})
    say(
        capsys,
        {
            "rounds": rounds,
            "sessions": len(site.hub.sessions),
            "outages": len(site.outages),
            "unobserved_ms": missed,
            "of_ms": whole,
            "largest_part_of_what_is_allowed": round(worst, 3),
        },
    )
    assert set(site.hits) == {*killpoints.AGENT_POINTS, *killpoints.LEDGER_POINTS}
    if postgres is not None:
        database_was_killed(site, postgres)


def database_was_killed(site: Site, postgres: PostgresServer) -> None:
    """PostgreSQL's own log says that it was, and not asked to stop."""
    backends, postmasters = (
        site.done[f"postgresql {one} killed"] for one in ("backend", "postmaster")
    )
    log = postgres.said()
    assert min(backends, postmasters) > 0
    assert log.count("was terminated by signal 9: Killed") >= backends
    assert log.count("automatic recovery in progress") >= backends + postmasters
    assert "shutdown request" not in log


def say(capsys: pytest.CaptureFixture[str], what: dict[str, object]) -> None:
    """Print figures, and what repeats the run, also where the test passes."""
    with capsys.disabled():
        print(f"\n{json.dumps(what)}", end="")  # noqa: T201 - that is what it is for
