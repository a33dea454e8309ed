"""The state beside the database: whole at every moment, and never one that is out of date."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from arcetri_accounting import killpoints
from arcetri_accounting.spool import Outbox, SpoolError, SpoolLost
from arcetri_accounting.spool.newest import LARGEST, PLACE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a spool whose database has the state ``first``."""
    made = Outbox(tmp_path / "spool.db", dict)
    commit(made, "first")
    made.close()
    return made.path


def beside(path: Path) -> Path:
    return path.with_name(f"{path.name}-state")


def commit(outbox: Outbox, state: str) -> None:
    with outbox.transaction() as transaction:
        transaction.append('{"x":1}')
        transaction.keep(state)


def keep(path: Path, *states: str, durable: bool = True) -> None:
    """As a process that then dies: nothing is done at its end."""
    outbox = Outbox(path, dict)
    for state in states:
        outbox.note(state.encode(), durable=durable)
    outbox.close()


def kept(path: Path) -> str | None:
    outbox = Outbox(path, dict)
    try:
        return outbox.noted() or outbox.kept()
    finally:
        outbox.close()


def tear(path: Path, state: str) -> None:
    """Leave what is written where that state is as a write that was cut off leaves it."""
    data = bytearray(beside(path).read_bytes())
    end = data.rindex(state.encode()) + len(state)
    data[end - 1 : end + 4] = b"?????"
    beside(path).write_bytes(data)


def test_the_newest_state_counts(path: Path) -> None:
    keep(path, "second", "third", "fourth")
    assert kept(path) == "fourth"

    keep(path, "fifth")
    assert kept(path) == "fifth"


def test_a_torn_write_leaves_the_state_before(path: Path) -> None:
    keep(path, "second", "third")
    tear(path, "third")
    assert kept(path) == "second"

    # What is written next goes where the torn one is.
    keep(path, "third again")
    tear(path, "third again")
    assert kept(path) == "second"

    tear(path, "second")
    assert kept(path) == "first"


def test_what_was_kept_in_passing_outlives_the_process(path: Path) -> None:
    keep(path, "second")
    keep(path, "third", "fourth", durable=False)
    assert kept(path) == "fourth"

    keep(path, "fifth")
    assert kept(path) == "fifth"


def test_a_machine_without_power_falls_back_to_what_was_on_the_disk(path: Path) -> None:
    keep(path, "second")
    keep(path, "in passing", durable=False)
    keep(path, "third")
    keep(path, "also in passing", durable=False)
    # Neither was on the disk yet, and one was being put there.
    tear(path, "also in passing")
    tear(path, "third")

    assert kept(path) == "second"


def test_what_is_durable_is_written_through(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags: list[int] = []

    def written(file: int, parts: Sequence[bytes], at: int, how: int) -> int:
        flags.append(how)
        return pwritev(file, parts, at, how)

    pwritev = os.pwritev
    monkeypatch.setattr(os, "pwritev", written)
    keep(path, "second")
    keep(path, "third", durable=False)

    assert flags == [os.RWF_DSYNC, 0]


@pytest.mark.parametrize("length", [0, 10, 100, PLACE + 10])
def test_a_file_that_was_cut_off_is_no_harm(path: Path, length: int) -> None:
    keep(path, "second", "third")
    with beside(path).open("r+b") as file:
        file.truncate(length)

    # The places are used by turns, and the second one is written first.
    assert kept(path) == ("third" if length >= 100 else "first")


def test_a_state_with_records_replaces_it(path: Path) -> None:
    outbox = Outbox(path, dict)
    outbox.note(b"second")
    commit(outbox, "third")
    assert outbox.kept() == "third"
    outbox.close()

    assert kept(path) == "third"
    tear(path, "second")
    assert kept(path) == "third"


def test_a_transaction_that_fails_replaces_nothing(path: Path) -> None:
    outbox = Outbox(path, dict)
    outbox.note(b"second")

    def fail() -> None:
        with outbox.transaction() as transaction:
            transaction.keep("lost")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert outbox.noted() == "second"
    outbox.note(b"third")
    outbox.close()

    assert kept(path) == "third"


def test_it_follows_one_state_of_the_database_and_no_other(path: Path, tmp_path: Path) -> None:
    """A database that is put back from a copy: what was kept after it was changed is not of it."""
    shutil.copy(path, tmp_path / "copy")
    outbox = Outbox(path, dict)
    commit(outbox, "second")
    outbox.note(b"third")
    outbox.close()
    shutil.copy(tmp_path / "copy", path)

    assert kept(path) == "first"


def test_a_new_epoch_begins_without_it(path: Path) -> None:
    keep(path, "second")
    path.unlink()

    assert kept(path) is None


def test_it_is_set_aside_with_its_database(path: Path) -> None:
    keep(path, "second")
    content = beside(path).read_bytes()
    path.write_bytes(b"something else entirely" * 100)

    outbox = Outbox(path, dict)

    assert outbox.epoch.set_aside is not None
    assert outbox.kept() is None
    assert beside(outbox.epoch.set_aside).read_bytes() == content
    outbox.close()


def test_a_spool_of_before_there_was_such_a_file(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("UPDATE meta SET value = ? WHERE name = 'state'", ("old".ljust(1024),))
    database.close()
    assert not beside(path).exists()

    assert kept(path) == "old".ljust(1024)
    keep(path, "new")
    assert kept(path) == "new"


def test_there_is_room_for_so_much(path: Path) -> None:
    keep(path, "second", "x" * LARGEST)
    assert kept(path) == "x" * LARGEST
    assert beside(path).stat().st_size == 3 * PLACE

    outbox = Outbox(path, dict)
    with pytest.raises(ValueError, match="at most"):
        outbox.note(b"x" * (LARGEST + 1))
    outbox.close()
    assert kept(path) == "x" * LARGEST


def test_a_file_that_is_taken_away_is_made_again(path: Path) -> None:
    outbox = Outbox(path, dict)
    outbox.note(b"second")
    beside(path).unlink()
    outbox.note(b"third")
    outbox.close()

    assert kept(path) == "third"


def test_a_database_that_is_taken_away_is_noticed(path: Path) -> None:
    outbox = Outbox(path, dict)
    path.rename(path.with_name("moved"))

    with pytest.raises(SpoolLost):
        outbox.note(b"second")
    outbox.close()


def test_what_cannot_be_read_is_said(path: Path) -> None:
    beside(path).mkdir()

    with pytest.raises(SpoolError, match="state cannot be used"):
        Outbox(path, dict)

    beside(path).rmdir()
    assert kept(path) == "first"


def test_a_full_disk_leaves_the_state_before(path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
from arcetri_accounting.spool import Outbox, SpoolFull
outbox = Outbox(Path(sys.argv[1]), dict)
outbox.note(b"second")
for limit in (10, 60):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        outbox.note(b"lost" * 100)
    except SpoolFull:
        print(outbox.noted())
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
outbox.note(b"third")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout == "second\nsecond\n"
    assert kept(path) == "third"


def test_killed_after_it_was_written_it_is_there(path: Path) -> None:
    code = """
import sys
from pathlib import Path
from arcetri_accounting.spool import Outbox
Outbox(Path(sys.argv[1]), dict).note(b"second")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, path],
        env={**os.environ, killpoints.VARIABLE: "spool.noted"}, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL

    assert kept(path) == "second"
