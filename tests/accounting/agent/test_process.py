"""The agent as a process: what a hub writes arrives at a ledger, exactly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.accounting.agent.process import Hub, agent
from tests.accounting.agent.tiny import TinyLedger, serving

pytestmark = pytest.mark.component


@pytest.fixture
def ledger() -> Iterator[TinyLedger]:
    made = TinyLedger()
    yield made
    assert made.problems == []


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(tmp_path)


def test_a_session_is_seen_growing_and_its_end_is_exact(
    tmp_path: Path, ledger: TinyLedger, hub: Hub
) -> None:
    with serving(ledger) as url, agent(tmp_path, url) as running:
        ledger.wait(lambda: bool(ledger.batches), "a first heartbeat")
        session = hub.start("SIM-t4-1", simulated=True)
        ledger.wait(lambda: bool(ledger.running(session)), "the session is shown")
        ledger.wait(lambda: ledger.milliseconds(session) > 500, "the session grows")
        duration = hub.end(session)
        ledger.wait(lambda: not ledger.running(session), "the session is final")

        assert ledger.milliseconds(session) == duration
        assert running.terminate() == 0

    segments = ledger.segments(session)
    assert sum(segment.unobserved_ms for segment in segments) == duration
    assert ledger.people == {"6470c6b8": "alice"}
    assert ledger.gaps() == []
    assert (hub.path / "leases.jsonl.ack").read_text().find('"seq":2') > 0
