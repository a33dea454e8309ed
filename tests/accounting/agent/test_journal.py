"""Following a lease journal that the hub's own writer writes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from arcetri_accounting.agent.allocations import Damaged, Ended, Event, SourceError, Started
from arcetri_accounting.agent.journal import LeaseJournal
from arcetri_accounting.contract.journal import JournalAck
from tests.accounting.agent.process import Hub


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    made = Hub(tmp_path)
    yield made
    made.journal.close()


@pytest.fixture
def journal(hub: Hub) -> LeaseJournal:
    return LeaseJournal(hub.path, "agent@node1")


def numbers(events: list[Event]) -> list[int]:
    return [event.seq for event in events]


def test_a_start_says_who_holds_what(hub: Hub, journal: LeaseJournal) -> None:
    session = hub.start("GPU-1", "GPU-2", share="1/7")

    (event,) = journal.poll(0)

    assert isinstance(event, Started)
    assert (event.session, event.username, event.boot) == (session, "alice", hub.truth[session][0])
    first, second = event.allocations
    assert [(one.device, str(one.share)) for one in event.allocations] == [
        ("GPU-1", "1/7"),
        ("GPU-2", "1/7"),
    ]
    # Cores and memory are the session's: they are counted once.
    assert (first.millicores, first.memory) == (2000, 2**33)
    assert (second.millicores, second.memory) == (0, 0)


def test_a_session_without_device_is_one_allocation_without_device(
    hub: Hub, journal: LeaseJournal
) -> None:
    hub.start()

    (event,) = journal.poll(0)

    assert isinstance(event, Started)
    assert [(one.device, one.flavor_type) for one in event.allocations] == [("", "cpu")]


def test_what_is_appended_comes_once(hub: Hub, journal: LeaseJournal) -> None:
    session = hub.start("GPU-1")
    assert numbers(journal.poll(0)) == [1]
    assert journal.poll(1) == []
    hub.end(session)

    (event,) = journal.poll(1)

    assert isinstance(event, Ended)
    assert (event.session, event.boot) == (session, hub.truth[session][1])


def test_after_a_crash_only_what_was_not_stored_comes(hub: Hub) -> None:
    for _ in range(3):
        hub.end(hub.start("GPU-1"))

    assert numbers(LeaseJournal(hub.path, "x").poll(4)) == [5, 6]


def test_a_shortened_journal_is_read_on_without_loss(hub: Hub, journal: LeaseJournal) -> None:
    hub.end(hub.start("GPU-1"))
    kept = hub.start("GPU-2")
    assert numbers(journal.poll(0)) == [1, 2, 3]
    journal.acknowledge(2)
    before = (hub.path / "leases.jsonl").stat().st_ino
    late = hub.start("GPU-3")
    assert hub.journal.compact() == 2
    hub.end(late)

    assert (hub.path / "leases.jsonl").stat().st_ino != before
    assert numbers(journal.poll(3)) == [4, 5]
    hub.end(kept)
    assert numbers(journal.poll(5)) == [6]


def test_a_torn_line_is_no_record_until_it_is_whole(hub: Hub, journal: LeaseJournal) -> None:
    hub.start("GPU-1")
    path = hub.path / "leases.jsonl"
    line = path.read_bytes().replace(b'"seq":1', b'"seq":2')
    with path.open("ab") as file:
        file.write(line[:50])
    assert numbers(journal.poll(0)) == [1]
    # Its writer comes back, takes the torn line away and writes another one in its place.
    os.truncate(path, path.stat().st_size - 50)
    assert journal.poll(1) == []
    with path.open("ab") as file:
        file.write(line.replace(b"GPU-1", b"GPU-other"))

    (event,) = journal.poll(1)

    assert isinstance(event, Started)
    assert event.allocations[0].device == "GPU-other"


def test_a_damaged_line_is_said_once_and_hides_no_other(hub: Hub, journal: LeaseJournal) -> None:
    for device in ("GPU-1", "GPU-2", "GPU-3"):
        hub.start(device)
    path = hub.path / "leases.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"\xff\x00 not json\n" + lines[2])

    first, damaged, last = journal.poll(0)

    assert numbers([first, last]) == [1, 3]
    assert isinstance(damaged, Damaged)
    assert damaged.seq == 2
    # Who starts again has stored 3, and knows of the damage.
    assert LeaseJournal(hub.path, "x").poll(3) == []


def test_a_record_that_no_ledger_would_take_is_damage_and_not_the_end(
    hub: Hub, journal: LeaseJournal
) -> None:
    for device in ("GPU-1", "GPU-2"):
        hub.start(device)
    path = hub.path / "leases.jsonl"
    first, second = path.read_bytes().splitlines(keepends=True)
    record = json.loads(first)
    record["group"] = "/" + "x" * 10_000
    path.write_bytes(json.dumps(record).encode() + b"\n" + second)

    damaged, started = journal.poll(0)

    assert isinstance(damaged, Damaged)
    assert numbers([started]) == [2]


def test_a_later_version_is_refused_and_what_is_before_it_counts(
    hub: Hub, journal: LeaseJournal
) -> None:
    hub.start("GPU-1")
    path = hub.path / "leases.jsonl"
    record = json.loads(path.read_bytes())
    with path.open("ab") as file:
        file.write(json.dumps({**record, "v": 2, "seq": 2}).encode() + b"\n")

    assert numbers(journal.poll(0)) == [1]
    for _ in range(2):
        with pytest.raises(SourceError, match="version 2"):
            journal.poll(1)


def test_no_journal_yet_is_no_error(tmp_path: Path) -> None:
    journal = LeaseJournal(tmp_path / "journal", "x")
    assert journal.poll(0) == []
    hub = Hub(tmp_path)
    hub.start("GPU-1")

    assert numbers(journal.poll(0)) == [1]
    hub.journal.close()


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "leases.jsonl").mkdir()

    with pytest.raises(SourceError, match=r"leases\.jsonl: Is a directory"):
        LeaseJournal(tmp_path, "x").poll(0)


def test_the_acknowledgement_is_what_the_writer_reads(hub: Hub, journal: LeaseJournal) -> None:
    hub.end(hub.start("GPU-1"))
    assert journal.known_before() == 0
    journal.acknowledge(2)

    ack = JournalAck.model_validate_json((hub.path / "leases.jsonl.ack").read_bytes())

    assert (ack.observer, ack.seq) == ("agent@node1", 2)
    assert journal.known_before() == 2
    assert [path.name for path in hub.path.glob("*.new")] == []


def test_an_acknowledgement_that_cannot_be_written_is_said(hub: Hub, journal: LeaseJournal) -> None:
    (hub.path / "leases.jsonl.ack").mkdir()

    with pytest.raises(SourceError, match="ack"):
        journal.acknowledge(2)
