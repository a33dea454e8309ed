"""The agent is killed inside each of its write paths, and started again: the totals are exact."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from arcetri_accounting import killpoints
from arcetri_accounting.agent.clock import SystemClock
from arcetri_accounting.spool import Outbox
from tests.accounting.agent.process import Hub, agent
from tests.accounting.agent.tiny import TinyLedger, serving
from tests.support.nvml import FakeMachine, remove

pytestmark = pytest.mark.component
INTERVAL = 0.25


@pytest.fixture(scope="module", autouse=True)
def _library() -> Iterator[None]:
    yield
    remove()


@pytest.fixture
def ledger() -> Iterator[TinyLedger]:
    made = TinyLedger()
    yield made
    assert made.problems == []


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    # What began before the spool did is not counted: here it begins first.
    clock = SystemClock()
    now = clock.now()
    born = {"wall": now.wall, "boot": now.boot, "boot_id": clock.boot_id}
    Outbox(tmp_path / "spool.db", lambda: born).close()
    made = Hub(tmp_path)
    yield made
    made.journal.close()


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    made = FakeMachine(tmp_path / "machine")
    made.has("gpu GPU-0 nomig Tesla T4\nutil steady 50\nprocess 7 1000\nenergy 5 70000")
    return made


def exact(ledger: TinyLedger, hub: Hub, session: str) -> None:
    began, ended = hub.truth[session]
    assert ended is not None
    segments = sorted(ledger.segments(session), key=lambda one: one.b0)
    assert sum(one.dur_ms for one in segments) == ended - began
    at = began
    for one in segments:
        assert one.b0 == at
        at += one.dur_ms


@pytest.mark.parametrize("times", [2])
@pytest.mark.parametrize("point", killpoints.AGENT_POINTS)
def test_killed_at_any_point_it_goes_on_exactly(
    tmp_path: Path, ledger: TinyLedger, hub: Hub, machine: FakeMachine, point: str, times: int
) -> None:
    first = hub.start("GPU-0")
    second = ""
    environment = {**machine.environment(), killpoints.VARIABLE: f"{point}:{times}"}
    with serving(ledger) as url:
        with agent(tmp_path, url, environment, interval=INTERVAL) as dying:
            deadline = time.monotonic() + 30
            while dying.process.poll() is None:
                # Something for every write path: a record of the journal, and one to deliver; and
                # then cycles in which nothing happens.
                if second:
                    hub.end(second)
                second = hub.start("SIM-1", simulated=True)
                time.sleep(3 * INTERVAL)
                assert time.monotonic() < deadline, f"{point} is not reached\n{dying.said()}"
            assert dying.process.returncode == -signal.SIGKILL
        hub.end(second)
        second = hub.start("SIM-1", simulated=True)
        with agent(tmp_path, url, machine.environment(), interval=INTERVAL) as running:
            ledger.wait(lambda: bool(ledger.running(first)), "it goes on")
            for session in (first, second):
                hub.end(session)
            ledger.wait(lambda: not ledger.open, "all are final")
            assert running.terminate() == 0
    for session in hub.truth:
        exact(ledger, hub, session)
    assert ledger.gaps() == []
    used = sum(one.used_u or 0 for one in ledger.segments(first))
    measured = sum(one.util_ms for one in ledger.segments(first))
    # What was measured is what is true; the driver's buffer gives back what death has cost.
    assert abs(used - 10_080 * measured // 2) <= len(ledger.segments(first)) + measured * 101
    began, ended = hub.truth[first]
    assert ended is not None
    assert measured >= ended - began - 1_500


def test_killed_at_random_again_and_again(
    tmp_path: Path, ledger: TinyLedger, hub: Hub, machine: FakeMachine
) -> None:
    whole = hub.start("GPU-0")
    with serving(ledger) as url:
        for _ in range(6):
            with agent(tmp_path, url, machine.environment(), interval=0.1) as running:
                session = hub.start("SIM-1", simulated=True)
                beats = len(ledger.batches)
                ledger.wait(lambda beats=beats: len(ledger.batches) > beats, "it sends")
                time.sleep(int.from_bytes(os.urandom(1)) / 600)
                running.process.kill()
                hub.end(session)
        hub.end(whole)
        with agent(tmp_path, url, machine.environment(), interval=0.1) as running:
            ledger.wait(
                lambda: (
                    set(hub.truth)
                    == {ledger.allocations[one.allocation].session for one in ledger.segments()}
                    and not ledger.open
                ),
                "all are final",
            )
            assert running.terminate() == 0
    for session in hub.truth:
        exact(ledger, hub, session)
