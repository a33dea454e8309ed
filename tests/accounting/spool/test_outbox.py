"""The outbox: what was committed stays, in order, once, until it is acknowledged."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from arcetri_accounting import killpoints
from arcetri_accounting.spool import (
    Outbox,
    SpoolBusy,
    SpoolError,
    SpoolFull,
    SpoolLost,
)

BIG = 10_000_000


def born() -> dict[str, str | int]:
    return {"wall": 5}


@pytest.fixture
def open_at(tmp_path: Path) -> Iterator[Callable[..., Outbox]]:
    opened: list[Outbox] = []

    def make(**options: int) -> Outbox:
        made = Outbox(tmp_path / "deep" / "spool.db", born, **options)
        opened.append(made)
        return made

    yield make
    for one in opened:
        try:
            one.close()
        except OSError:
            continue


def fill(outbox: Outbox, *bodies: str, stream: str = "") -> None:
    with outbox.transaction() as transaction:
        for body in bodies:
            transaction.append(f'{{"x":"{body}"}}', stream=stream)


def seqs(outbox: Outbox) -> list[int]:
    return [item.seq for item in outbox.batch(1000, BIG)]


def test_records_come_back_in_order_with_their_numbers(open_at: Callable[..., Outbox]) -> None:
    outbox = open_at()
    fill(outbox, "a", "b")

    assert [json.loads(item.numbered()) for item in outbox.batch(10, BIG)] == [
        {"seq": 1, "x": "a"},
        {"seq": 2, "x": "b"},
    ]
    assert outbox.depth() == 2


def test_numbers_are_never_given_twice(open_at: Callable[..., Outbox]) -> None:
    outbox = open_at()
    fill(outbox, "a", "b")
    outbox.acknowledge(2)
    outbox.close()

    again = open_at()
    fill(again, "c")

    assert seqs(again) == [3]
    assert again.epoch.id == outbox.epoch.id
    assert (outbox.epoch.fresh, again.epoch.fresh) == (True, False)
    assert again.epoch.born == {"wall": 5}


def test_only_what_was_given_out_can_be_acknowledged(open_at: Callable[..., Outbox]) -> None:
    outbox = open_at()
    fill(outbox, "a", "b", "c")

    with pytest.raises(ValueError, match="4 is acknowledged, but 3"):
        outbox.acknowledge(4)

    assert outbox.acknowledge(2) == 2
    assert outbox.acknowledge(1) == 0
    assert seqs(outbox) == [3]


def test_a_transaction_that_fails_leaves_nothing(open_at: Callable[..., Outbox]) -> None:
    outbox = open_at()

    def fail() -> None:
        with outbox.transaction() as transaction:
            transaction.append('{"x":1}')
            transaction.set("state", "half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert outbox.depth() == 0
    assert outbox.get("state") is None


def test_values_are_set_and_forgotten(open_at: Callable[..., Outbox]) -> None:
    outbox = open_at()
    with outbox.transaction() as transaction:
        transaction.set("a", "1")
        transaction.set("a", "2")
        transaction.set("b", "3")
    with outbox.transaction() as transaction:
        transaction.unset("b")

    assert (outbox.get("a"), outbox.get("b")) == ("2", None)


def test_a_batch_has_one_stream_and_a_size(open_at: Callable[..., Outbox]) -> None:
    outbox = open_at()
    fill(outbox, "a", "b", stream="boot1")
    fill(outbox, "c", stream="boot2")

    assert [item.seq for item in outbox.batch(10, BIG)] == [1, 2]
    assert [item.seq for item in outbox.batch(1, BIG)] == [1]
    assert [item.seq for item in outbox.batch(10, 1)] == [1]


def test_attachments_stay_as_long_as_a_record_needs_them(open_at: Callable[..., Outbox]) -> None:
    outbox = open_at()
    with outbox.transaction() as transaction:
        transaction.attach("k1", "one")
        transaction.attach("k2", "two")
        for key in ("k1", "k2", "k1"):
            transaction.append('{"x":1}', attachment=key)
    assert outbox.attachments(["k1", "k2", "k3"]) == {"k1": "one", "k2": "two"}

    outbox.acknowledge(2)

    assert outbox.attachments(["k1", "k2"]) == {"k1": "one"}


@pytest.mark.parametrize("damage", ["no database", "a page", "cut off"])
def test_a_damaged_file_is_set_aside_and_an_epoch_begins(
    open_at: Callable[..., Outbox], damage: str
) -> None:
    outbox = open_at()
    fill(outbox, *("x" * 3000 for _ in range(50)))
    outbox.close()
    path = outbox.path
    if damage == "no database":
        path.write_bytes(b"something else entirely" * 100)
    elif damage == "a page":
        data = bytearray(path.read_bytes())
        data[4096 * 3 : 4096 * 6] = b"\xff" * (4096 * 3)
        path.write_bytes(data)
    else:
        os.truncate(path, path.stat().st_size // 2)
    content = path.read_bytes()

    again = open_at()

    assert again.epoch.fresh
    assert again.epoch.id != outbox.epoch.id
    assert again.epoch.set_aside is not None
    assert again.epoch.set_aside.read_bytes() == content
    fill(again, "a")
    assert seqs(again) == [1]


def test_a_later_version_is_refused_and_left_alone(open_at: Callable[..., Outbox]) -> None:
    outbox = open_at()
    outbox.close()
    with sqlite3.connect(outbox.path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()

    with pytest.raises(SpoolError, match="version 99"):
        open_at()

    assert [path.name for path in outbox.path.parent.glob("*corrupt*")] == []


def test_one_process_at_a_time(open_at: Callable[..., Outbox]) -> None:
    outbox = open_at()
    with pytest.raises(SpoolBusy, match="One writer"):
        open_at()
    outbox.close()
    open_at()


def test_a_full_disk_is_said_and_nothing_is_half_written(open_at: Callable[..., Outbox]) -> None:
    outbox = open_at(max_pages=12)
    fill(outbox, "first")
    with pytest.raises(SpoolFull, match="Free some room"):
        fill(outbox, "lost?", "x" * 100_000)

    assert seqs(outbox) == [1]
    fill(outbox, "second")
    assert seqs(outbox) == [1, 2]


def test_a_limit_on_the_size_of_files_is_a_full_disk(tmp_path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
from arcetri_accounting.spool import Outbox, SpoolFull
outbox = Outbox(Path(sys.argv[1]), lambda: {})
with outbox.transaction() as transaction:
    transaction.append('{"x":1}')
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
try:
    with outbox.transaction() as transaction:
        transaction.append('{"x":"%s"}' % ("y" * 200_000))
except SpoolFull:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    with outbox.transaction() as transaction:
        transaction.append('{"x":2}')
    print([item.seq for item in outbox.batch(10, 1000)])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "s.db")],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip

    assert done.stdout == "[1, 2]\n"


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_is_taken_away_is_noticed(
    open_at: Callable[..., Outbox], replaced: bool
) -> None:
    outbox = open_at()
    fill(outbox, "a")
    outbox.path.rename(outbox.path.with_name("moved"))
    if replaced:
        outbox.path.write_bytes(b"")

    with pytest.raises(SpoolLost):
        fill(outbox, "b")


@pytest.mark.parametrize(("point", "kept"), [("spool.written", []), ("spool.committed", [1])])
def test_killed_within_a_transaction_it_is_there_whole_or_not_at_all(
    open_at: Callable[..., Outbox], tmp_path: Path, point: str, kept: list[int]
) -> None:
    open_at().close()
    code = """
import sys
from pathlib import Path
from arcetri_accounting.spool import Outbox
outbox = Outbox(Path(sys.argv[1]), lambda: {})
with outbox.transaction() as transaction:
    transaction.append('{"x":1}')
    transaction.set("state", "new")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "deep" / "spool.db")],
        env={**os.environ, killpoints.VARIABLE: point}, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL

    outbox = open_at()

    assert seqs(outbox) == kept
    assert (outbox.get("state") == "new") == bool(kept)


class Model(RuleBasedStateMachine):
    """Whatever is done in whatever order, it is a list with numbers."""

    folder: Path

    def __init__(self) -> None:
        super().__init__()
        self.path = self.folder / f"{os.urandom(8).hex()}.db"
        self.outbox = Outbox(self.path, born)
        self.kept: dict[int, str] = {}
        self.last = 0
        self.state: str | None = None
        self.news: str | None = None

    @rule(bodies=st.lists(st.text(max_size=20), max_size=5))
    def append(self, bodies: list[str]) -> None:
        with self.outbox.transaction() as transaction:
            for body in bodies:
                self.last += 1
                text = json.dumps({"x": body})
                assert transaction.append(text) == self.last
                self.kept[self.last] = text

    @rule(back=st.integers(0, 10))
    def acknowledge(self, back: int) -> None:
        upto = max(self.last - back, 0)
        gone = [seq for seq in self.kept if seq <= upto]
        assert self.outbox.acknowledge(upto) == len(gone)
        for seq in gone:
            del self.kept[seq]

    @rule(news=st.text(max_size=20), durable=st.booleans())
    def note(self, news: str, durable: bool) -> None:
        self.outbox.note(news.encode(), durable=durable)
        self.news = news

    @rule(state=st.text(max_size=20), body=st.text(max_size=20))
    def keep_with_a_record(self, state: str, body: str) -> None:
        self.append([body])
        with self.outbox.transaction() as transaction:
            transaction.keep(state)
        self.state, self.news = state, None

    @rule()
    def reopen(self) -> None:
        self.outbox.close()
        self.outbox = Outbox(self.path, born)

    @invariant()
    def same(self) -> None:
        assert {item.seq: item.body for item in self.outbox.batch(1000, BIG)} == self.kept
        assert self.outbox.depth() == len(self.kept)
        assert self.outbox.last_seq() == self.last
        assert self.outbox.kept() == self.state
        assert self.outbox.noted() == self.news

    def teardown(self) -> None:
        self.outbox.close()


def test_it_is_a_list_with_numbers(tmp_path: Path) -> None:
    Model.folder = tmp_path
    run_state_machine_as_test(
        Model, settings=settings(max_examples=15, stateful_step_count=20, deadline=None)
    )
