"""The spawner's witness: told once, delivered once, whatever dies or answers nonsense."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from arcetri_accounting.client import Witness
from arcetri_accounting.client import witness as module
from arcetri_accounting.contract import LeaseEnded, LeaseStarted
from arcetri_accounting.contract.witness import CatalogSnapshot, WitnessBatch, WitnessedStart

pytestmark = pytest.mark.component

BEGIN = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)


class Ledger:
    """A ledger at the wire: reads strictly what it is sent, and answers what a test tells it to."""

    def __init__(self) -> None:
        self.batches: list[WitnessBatch] = []
        self.answer: Callable[[WitnessBatch], tuple[int, bytes]] = self.right
        ledger = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.path == "/services/usage/api/v1/witness"
                assert self.headers["Authorization"] == "Bearer a secret"
                batch = WitnessBatch.model_validate_json(body)
                status, answer = ledger.answer(batch)
                if status == 200:
                    ledger.batches.append(batch)
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/services/usage/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @staticmethod
    def right(batch: WitnessBatch) -> tuple[int, bytes]:
        last = batch.events[-1].seq
        return 200, json.dumps({"epoch": batch.epoch, "acknowledged": last}).encode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def told(self) -> list[tuple[str, str]]:
        """What arrived: types, and sessions or digests."""
        return [
            (event.type, event.snapshot.digest if event.type == "catalog" else event.session)
            for batch in self.batches
            for event in batch.events
        ]


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    ledger = Ledger()
    yield ledger
    ledger.close()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE", (0.02, 0.1))
    monkeypatch.setattr(module, "_GATHER", 0.05)


def _witness(tmp_path: Path, ledger: Ledger) -> Witness:
    token = tmp_path / "token"
    token.write_text("a secret\n")
    return Witness(tmp_path / "witness.sqlite", ledger.url, token, writer="hub", node="gpu1")


@contextlib.asynccontextmanager
async def _delivering(witness: Witness) -> AsyncIterator[None]:
    task = asyncio.create_task(witness.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.01)


def _start(seq: int, session: str, at: datetime = BEGIN) -> LeaseStarted:
    return LeaseStarted(
        seq=seq,
        session=session,
        account="acc-1",
        username="alice",
        group="/lab/cms",
        flavor="t4",
        flavor_type="gpu",
        share="1/7",  # type: ignore[arg-type]  # read from text, as from the journal
        catalog="d" * 64,
        cpu=2,
        memory=1 << 30,
        devices=(),
        pid=7,
        pid_start_ticks=8,
        boot_id="boot",
        at=at + timedelta(seconds=seq),
        boottime_ms=1000 * seq,
    )


def _end(seq: int, session: str) -> LeaseEnded:
    return LeaseEnded(
        seq=seq,
        session=session,
        reason="stopped",
        boot_id="boot",
        at=BEGIN + timedelta(seconds=seq),
        boottime_ms=1000 * seq,
    )


def _catalog(digest: str) -> CatalogSnapshot:
    return CatalogSnapshot(digest=digest, since=BEGIN, site="Lab", timezone="Europe/Rome")


async def test_what_is_told_arrives_once_and_in_order(tmp_path: Path, ledger: Ledger) -> None:
    witness = _witness(tmp_path, ledger)
    async with _delivering(witness):
        witness.tell_catalog(_catalog("one"))
        witness.tell(_start(1, "a"))
        witness.tell(_end(2, "a"))
        witness.tell_catalog(_catalog("one"))
        witness.tell_catalog(_catalog("two"))
        await _until(lambda: len(ledger.told) == 4)
        await _until(lambda: witness.depth == 0)
    witness.close()
    assert ledger.told == [("catalog", "one"), ("start", "a"), ("end", "a"), ("catalog", "two")]
    started = next(e for b in ledger.batches for e in b.events if isinstance(e, WitnessedStart))
    assert (started.node, str(started.share), started.username) == ("gpu1", "1/7", "alice")


async def test_a_journal_read_again_is_not_told_again(tmp_path: Path, ledger: Ledger) -> None:
    witness = _witness(tmp_path, ledger)
    witness.tell(_start(1, "a"))
    witness.close()

    # The process died before it could tell of the end: the journal is told from its beginning.
    witness = _witness(tmp_path, ledger)
    for record in (_start(1, "a"), _end(2, "a")):
        witness.tell(record)
    async with _delivering(witness):
        await _until(lambda: witness.depth == 0)
    witness.close()
    assert ledger.told == [("start", "a"), ("end", "a")]


async def test_a_journal_begun_anew_is_told(tmp_path: Path, ledger: Ledger) -> None:
    witness = _witness(tmp_path, ledger)
    witness.tell(_start(7, "a"))
    witness.tell(_start(1, "b", BEGIN + timedelta(days=1)))
    async with _delivering(witness):
        await _until(lambda: witness.depth == 0)
    witness.close()
    assert ledger.told == [("start", "a"), ("start", "b")]


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (503, b"away"),
        (200, b"<html>a login page</html>"),
        (200, b'{"epoch": "another", "acknowledged": 99}'),
        (200, b'{"epoch": "EPOCH", "acknowledged": 99}'),
        (200, b'{"epoch": "EPOCH", "acknowledged": 0}'),
    ],
)
async def test_nothing_is_forgotten_on_an_answer_that_is_none(
    tmp_path: Path, ledger: Ledger, status: int, answer: bytes
) -> None:
    asked = 0

    def wrong(batch: WitnessBatch) -> tuple[int, bytes]:
        nonlocal asked
        asked += 1
        return status, answer.replace(b"EPOCH", batch.epoch.encode())

    ledger.answer = wrong
    witness = _witness(tmp_path, ledger)
    witness.tell(_start(1, "a"))
    async with _delivering(witness):
        await _until(lambda: asked >= 3)
        assert witness.depth == 1
        ledger.batches.clear()
        ledger.answer = ledger.right
        await _until(lambda: witness.depth == 0)
    witness.close()
    assert ledger.told == [("start", "a")]


def _take_away(folder: Path) -> None:
    for path in folder.glob("witness.sqlite*"):
        path.unlink()


async def test_a_spool_that_is_taken_away_is_begun_anew(tmp_path: Path, ledger: Ledger) -> None:
    witness = _witness(tmp_path, ledger)
    _take_away(tmp_path)
    witness.tell(_start(1, "a"))
    async with _delivering(witness):
        await _until(lambda: ledger.told == [("start", "a")])
        await _until(lambda: witness.depth == 0)
    witness.close()


async def test_an_answer_to_a_spool_that_is_gone_takes_nothing_from_the_new_one(
    tmp_path: Path, ledger: Ledger
) -> None:
    witness = _witness(tmp_path, ledger)
    witness.tell(_start(1, "a"))
    witness.tell(_start(2, "b"))

    def meanwhile(batch: WitnessBatch) -> tuple[int, bytes]:
        ledger.answer = ledger.right
        _take_away(tmp_path)
        # They get the numbers in the new spool that are being acknowledged of the old one.
        witness.tell(_start(3, "c"))
        witness.tell(_start(4, "d"))
        return ledger.right(batch)

    ledger.answer = meanwhile
    async with _delivering(witness):
        await _until(lambda: len(ledger.told) >= 2 and witness.depth == 0)
    witness.close()
    assert [session for _, session in ledger.told] == ["a", "b", "c", "d"]
    assert len({batch.epoch for batch in ledger.batches}) == 2


async def test_a_full_disk_keeps_the_order(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_PAGES", 12)
    witness = _witness(tmp_path, ledger)
    sessions = [f"session-{number}" for number in range(60)]
    for number, session in enumerate(sessions, start=1):
        witness.tell(_start(number, session))
    assert witness.depth == 60
    async with _delivering(witness):
        await _until(lambda: witness.depth == 0)
    witness.close()
    assert [session for _, session in ledger.told] == sessions


def _saw(witness: Witness, *records: LeaseStarted | LeaseEnded, node: str = "gpu2") -> None:
    for record in records:
        witness.saw(record, node)


async def test_what_is_seen_on_a_cluster_is_told_once_in_any_order(
    tmp_path: Path, ledger: Ledger
) -> None:
    witness = _witness(tmp_path, ledger)
    # A later start is seen before an earlier one, and each again and again.
    _saw(witness, _start(9, "b"), _start(3, "a"), _start(9, "b"), _start(3, "a"))
    _saw(witness, _end(12, "b"), _end(13, "b"))
    async with _delivering(witness):
        await _until(lambda: len(ledger.told) == 3 and witness.depth == 0)
    witness.close()
    assert ledger.told == [("start", "b"), ("start", "a"), ("end", "b")]
    nodes = {
        event.node for batch in ledger.batches for event in batch.events if event.type != "catalog"
    }
    assert nodes == {"gpu2"}


async def test_a_hub_that_starts_again_tells_of_a_cluster_what_it_has_not_told(
    tmp_path: Path, ledger: Ledger
) -> None:
    first = _witness(tmp_path, ledger)
    _saw(first, _start(1, "over"), _start(2, "runs"), _end(3, "over"), _start(4, "vanished"))
    first.close()
    second = _witness(tmp_path, ledger)
    # What ended may still be there to be seen; what never began has no end.
    _saw(second, _start(1, "over"), _end(3, "over"), _start(2, "runs"), _end(5, "never"))
    second.saw(_end(6, "vanished"), "")
    async with _delivering(second):
        await _until(lambda: second.depth == 0)
    second.close()
    assert ledger.told == [
        ("start", "over"),
        ("start", "runs"),
        ("end", "over"),
        ("start", "vanished"),
        ("end", "vanished"),
    ]
    (last,) = [event for event in ledger.batches[-1].events if event.seq == 5]
    assert last.type == "end"
    assert last.node == "gpu2"
