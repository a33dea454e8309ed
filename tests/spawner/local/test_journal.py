"""The lease journal: what is written stays, whatever happens in between."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import pytest

from arcetri_accounting.contract.journal import LeaseEnded, LeaseStarted
from arcetri_spawner.backends.local.journal import Journal
from arcetri_spawner.backends.local.live import end_record
from arcetri_spawner.errors import Conflict, StorageFull
from tests.spawner.local.world import acknowledge, read_journal


def start(session: str) -> LeaseStarted:
    return LeaseStarted(
        seq=1,
        session=session,
        account="a",
        username="alice",
        group="/lab/cms",
        flavor="t4",
        flavor_type="gpu",
        share=Fraction(1, 7),
        catalog="0" * 64,
        cpu=2.0,
        memory=1,
        devices=(),
        pid=1,
        pid_start_ticks=1,
        boot_id="b",
        at=datetime(2026, 11, 23, tzinfo=UTC),
        boottime_ms=1,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal" / "leases.jsonl"


def sequence(path: Path) -> list[tuple[int, str, str]]:
    return [(record.seq, record.type, record.session) for record in read_journal(path)]


def test_numbers_go_on_after_a_restart(path: Path) -> None:
    first = Journal(path)
    first.append_start(start("one"))
    first.close()

    second = Journal(path)
    assert set(second.open_sessions) == {"one"}
    second.append_end(end_record("one", "lost"))
    second.append_start(start("two"))

    assert sequence(path) == [(1, "start", "one"), (2, "end", "one"), (3, "start", "two")]
    second.close()


def test_an_end_is_written_once_and_never_without_its_start(path: Path) -> None:
    journal = Journal(path)
    journal.append_start(start("one"))

    assert isinstance(journal.append_end(end_record("one", "stopped")), LeaseEnded)
    assert journal.append_end(end_record("one", "stopped")) is None
    assert journal.append_end(end_record("other", "stopped")) is None

    assert len(read_journal(path)) == 2
    journal.close()


@pytest.mark.parametrize("torn", [b'{"v":1,"type":"st', b"{", b'{"v":1,"type":"end","seq":9}'])
def test_a_torn_last_line_is_no_record(path: Path, torn: bytes) -> None:
    journal = Journal(path)
    journal.append_start(start("one"))
    journal.close()
    with path.open("ab") as file:
        file.write(torn)

    journal = Journal(path)
    journal.append_end(end_record("one", "lost"))

    assert sequence(path) == [(1, "start", "one"), (2, "end", "one")]
    journal.close()


def test_a_damaged_line_hides_no_other(path: Path) -> None:
    journal = Journal(path)
    journal.append_start(start("one"))
    journal.close()
    with path.open("ab") as file:
        file.write(b"\x00\xff not json\n")

    journal = Journal(path)

    assert set(journal.open_sessions) == {"one"}
    assert journal.append_start(start("two")).seq == 2
    journal.close()


def test_two_hubs_cannot_write_one_journal(path: Path) -> None:
    journal = Journal(path)

    with pytest.raises(Conflict, match="Another process"):
        Journal(path)

    journal.close()
    Journal(path).close()


def test_only_acknowledged_records_of_ended_leases_are_dropped(path: Path) -> None:
    journal = Journal(path)
    for session in ("ended", "runs", "late"):
        journal.append_start(start(session))
    journal.append_end(end_record("ended", "stopped"))
    journal.append_end(end_record("late", "stopped"))

    assert journal.compact() == 0
    acknowledge(path, 4)
    assert journal.compact() == 3

    assert sequence(path) == [(2, "start", "runs"), (5, "end", "late")]
    assert journal.append_end(end_record("runs", "stopped")) is not None
    journal.close()
    assert Journal(path).append_start(start("next")).seq == 7


def test_numbers_never_begin_again(path: Path) -> None:
    journal = Journal(path)
    journal.append_start(start("one"))
    journal.append_end(end_record("one", "stopped"))
    acknowledge(path, 2)
    journal.compact()
    journal.close()

    journal = Journal(path)

    assert journal.append_start(start("two")).seq == 3
    journal.close()


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"observer": "x", "seq": 99}', "\x00"])
def test_a_wrong_acknowledgement_drops_nothing(path: Path, content: str) -> None:
    journal = Journal(path)
    journal.append_start(start("one"))
    journal.append_end(end_record("one", "stopped"))
    Path(f"{path}.ack").write_text(content)

    assert journal.compact() == 0
    journal.close()


def test_a_reader_of_the_old_file_is_not_disturbed(path: Path) -> None:
    journal = Journal(path)
    journal.append_start(start("one"))
    journal.append_end(end_record("one", "stopped"))
    with path.open("rb") as reader:
        acknowledge(path, 2)
        journal.compact()
        assert len(reader.readlines()) == 2
    assert len(read_journal(path)) == 1
    journal.close()


def test_a_long_journal_is_shortened_by_itself(path: Path) -> None:
    journal = Journal(path, compact_bytes=1)
    acknowledge(path, 0)
    for number in range(3):
        journal.append_start(start(str(number)))
        acknowledge(path, read_journal(path)[-1].seq)
        journal.append_end(end_record(str(number), "stopped"))

    assert len(read_journal(path)) < 6
    journal.close()


def test_a_full_disk_refuses_starts_and_still_takes_ends(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(path)
    journal.prepare()
    journal.append_start(start("one"))
    reserve = path.with_suffix(".reserve")
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        # As a disk would: half of it fits, while the reserve holds the rest of the room.
        if reserve.exists():
            real(descriptor, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", full)

    with pytest.raises(StorageFull):
        journal.append_start(start("two"))
    assert sequence(path) == [(1, "start", "one")]
    assert journal.append_end(end_record("one", "stopped")) is not None
    assert sequence(path) == [(1, "start", "one"), (2, "end", "one")]
    journal.close()


def test_who_is_told_hears_of_what_is_on_the_disk_and_again_after_a_restart(path: Path) -> None:
    heard: list[tuple[int, str]] = []

    def told(record: LeaseStarted | LeaseEnded) -> None:
        assert sequence(path)[-1][0] >= record.seq
        heard.append((record.seq, record.type))

    first = Journal(path, told=told)
    first.append_start(start("one"))
    assert first.append_end(end_record("never started", "lost")) is None
    first.append_end(end_record("one", "stopped"))
    first.close()
    assert heard == [(1, "start"), (2, "end")]

    Journal(path, told=told).close()
    assert heard == [(1, "start"), (2, "end")] * 2
