"""Deliveries, to a ledger that answers whatever it likes."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from arcetri_accounting.agent.clock import SystemClock
from arcetri_accounting.agent.figures import Figures
from arcetri_accounting.agent.ledger import Tail
from arcetri_accounting.agent.shipper import Post, Shipper
from arcetri_accounting.agent.transport import Transport, Unreachable
from arcetri_accounting.contract.usage import Acknowledgement, Batch
from arcetri_accounting.spool import Outbox
from tests.accounting.agent.tiny import TOKEN, Reply, TinyLedger, serving
from tests.support.platform import until

GAP = '{"type":"gap","code":"clock","t0":1,"t1":2,"detail":""}'
Fault = Callable[[Batch], Reply | None]


class Line:
    """A shipper, its spool and its ledger."""

    def __init__(self, folder: Path) -> None:
        self.ledger = TinyLedger()
        self.figures = Figures()
        self.outbox = Outbox(folder / "spool.db", dict)
        self.heartbeat = 100
        self.token = TOKEN
        self.shipper: Shipper | None = None

    def fill(self, count: int, boot: str = "boot1") -> None:
        with self.outbox.transaction() as transaction:
            for _ in range(count):
                transaction.append(GAP, stream=boot)

    def connect(self, url: str) -> None:
        transport = Transport(url, lambda: self.token, timeout=5)
        self.shipper = Shipper(
            "node1", transport, SystemClock(), self.figures, 10_000, backoff=0.01
        )
        self.shipper.start()

    def offer(self) -> None:
        assert self.shipper is not None
        self.heartbeat += 10_000
        self.shipper.offer(Post(self.outbox, Tail("boot1"), self.heartbeat))

    def drain(self) -> None:
        def drained() -> bool:
            self.offer()
            return self.outbox.depth() == 0

        until(drained, "everything is acknowledged", 20)

    def seqs(self) -> list[int]:
        return sorted(seq for _epoch, _boot, seq in self.ledger.records)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    made = Line(tmp_path)
    with serving(made.ledger) as url:
        made.connect(url)
        yield made
        assert made.shipper is not None
        made.shipper.finish(10)
    made.outbox.close()
    assert made.ledger.problems == []


def test_everything_arrives_and_is_then_forgotten(line: Line) -> None:
    line.fill(1700)
    line.offer()

    until(lambda: line.outbox.depth() == 0, "everything is acknowledged", 20)

    assert line.seqs() == list(range(1, 1701))
    assert line.figures.acknowledged == 1700
    batches = line.ledger.batches
    assert [batch.kept_from for batch in batches[:4]] == [1, 501, 1001, 1501]
    assert [batch.pending for batch in batches[:4]] == [1200, 700, 200, 0]
    beats = [batch.heartbeat for batch in batches]
    assert beats == sorted(set(beats))


def test_records_of_another_boot_go_in_batches_of_their_own(line: Line) -> None:
    line.fill(3, "boot0")
    line.fill(2)
    line.drain()

    sent = [batch for batch in line.ledger.batches if batch.records]
    assert [(batch.boot, len(batch.records)) for batch in sent] == [("boot0", 3), ("boot1", 2)]


def answers(status: int, body: bytes) -> Fault:
    return lambda _batch: (status, body)


def acknowledging(
    change: Callable[[Acknowledgement], dict[str, object]],
) -> Fault:
    def fault(batch: Batch) -> Reply:
        honest = Acknowledgement(epoch=batch.epoch, acknowledged=len(batch.records))
        return 200, json.dumps({**honest.model_dump(), **change(honest)}).encode()

    return fault


NONSENSE: dict[str, tuple[Fault, str]] = {
    "not json": (answers(200, b"<html>Welcome</html>"), "nonsense"),
    "empty": (answers(200, b""), "nonsense"),
    "another shape": (answers(200, b'{"ok":true}'), "nonsense"),
    "too long": (answers(200, b"x" * 2_000_000), "unreachable"),
    "another epoch": (acknowledging(lambda _: {"epoch": "other"}), "nonsense"),
    "more than there is": (acknowledging(lambda _: {"acknowledged": 10**9}), "nonsense"),
    "negative": (acknowledging(lambda _: {"acknowledged": -1}), "nonsense"),
    "text": (acknowledging(lambda _: {"acknowledged": "all"}), "nonsense"),
    "another version": (acknowledging(lambda _: {"v": 2}), "nonsense"),
    "redirect": (answers(302, b""), "nonsense"),
    "refused": (answers(403, b"{}"), "refused"),
    "unknown": (answers(404, b"{}"), "refused"),
    "too large": (answers(413, b"{}"), "refused"),
    "malformed": (answers(422, b"{}"), "refused"),
    "too often": (answers(429, b"{}"), "refused"),
    "broken": (answers(500, b"oops"), "failed"),
    "database away": (answers(503, b"{}"), "failed"),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_whatever_is_answered_nothing_is_forgotten_and_it_is_tried_again(
    line: Line, name: str
) -> None:
    fault, outcome = NONSENSE[name]
    kept: list[int] = []

    def then_look(batch: Batch) -> None:
        assert batch.kept_from == 1
        kept.append(line.outbox.depth())

    line.ledger.faults = [fault, fault, then_look]
    line.fill(3)
    line.drain()

    assert kept == [3]
    assert line.seqs() == [1, 2, 3]
    assert line.figures.deliveries[outcome] == 2


def test_too_large_a_batch_is_sent_in_parts(line: Line) -> None:
    def refuse(batch: Batch) -> Reply | None:
        line.ledger.faults.append(refuse)
        return (413, b"{}") if len(batch.records) > 10 else None

    line.ledger.faults = [refuse]
    line.fill(40)
    line.drain()

    assert line.seqs() == list(range(1, 41))


def test_an_answer_that_is_lost_makes_no_second_record(line: Line) -> None:
    def take_and_say_nothing(batch: Batch) -> Reply:
        line.ledger._store(batch)
        return 500, b""

    line.ledger.faults = [take_and_say_nothing]
    line.fill(5)
    line.drain()

    assert line.seqs() == [1, 2, 3, 4, 5]


def test_a_hole_before_what_was_sent_is_not_acknowledged_over(line: Line) -> None:
    line.ledger.faults = [acknowledging(lambda _: {"acknowledged": 2})]
    line.fill(5)
    line.offer()
    until(lambda: line.outbox.depth() == 3, "two are acknowledged", 10)

    line.drain()

    # The ledger did not keep the first two, and says so: it has 3 to 5, and nothing below.
    assert line.seqs() == [3, 4, 5]


@pytest.fixture
def lonely(tmp_path: Path) -> Iterator[Line]:
    made = Line(tmp_path)
    yield made
    made.outbox.close()


def test_a_ledger_that_comes_back_is_found(lonely: Line) -> None:
    with serving(TinyLedger()) as url:
        port = int(url.split(":")[2].split("/")[0])
    lonely.fill(3)
    lonely.connect(url)
    lonely.offer()
    until(lambda: lonely.figures.deliveries["unreachable"] >= 2, "it is tried again", 20)
    assert lonely.outbox.depth() == 3
    with serving(lonely.ledger, port):
        lonely.drain()
        assert lonely.shipper is not None
        lonely.shipper.finish(10)

    assert lonely.seqs() == [1, 2, 3]


def test_the_end_does_not_wait_for_a_ledger_that_hangs(lonely: Line) -> None:
    release: list[bool] = []

    def hang(_batch: Batch) -> Reply:
        until(lambda: bool(release), "it is released", 20)
        return 500, b""

    lonely.ledger.faults = [hang, hang]
    with serving(lonely.ledger) as url:
        lonely.fill(1)
        lonely.connect(url)
        lonely.offer()
        assert lonely.shipper is not None
        lonely.shipper.finish(0.2)
        assert lonely.outbox.depth() == 1
        release.append(True)
        # The thread ends once it has its answer.
        lonely.shipper.finish(10)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/x", "http://", "host:80", "http://u:p@host/", "http://@host/",
        "http://host/?x=1", "http://host/a b", "http://host/\u00e9",
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        Transport(url, lambda: "")


def test_a_connection_that_was_closed_meanwhile_is_made_again() -> None:
    ledger = TinyLedger()
    with serving(ledger) as url:
        port = int(url.split(":")[2].split("/")[0])
        transport = Transport(url, lambda: "wrong", timeout=5)
        assert transport.post(b"{}").status == 401
    with serving(ledger, port):
        assert transport.post(b"{}").status == 401
    with pytest.raises(Unreachable):
        transport.post(b"{}")
    transport.close()


@contextmanager
def saying(*parts: bytes) -> Iterator[Transport]:
    """A transport to a server that says these parts to each request, and hangs up after one."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection:
                    connection.recv(65_536)
                    for part in parts:
                        connection.sendall(part)
                        time.sleep(0.02)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    transport = Transport(f"http://127.0.0.1:{server.getsockname()[1]}", lambda: "token", timeout=2)
    try:
        yield transport
    finally:
        transport.close()
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(10)


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("parts", "body"),
    [
        pytest.param([OK + b"Content-Length: 3\r\n\r\nabc"], b"abc", id="of known length"),
        pytest.param([OK + b"content-LENGTH: 3\r\n\r\na", b"bc"], b"abc", id="in two parts"),
        pytest.param(
            [OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", b"1\r\nc\r\n0\r\n\r\n"],
            b"abc", id="in chunks",
        ),
        pytest.param(
            [b"HTTP/1.1 100 Continue\r\n\r\n", OK + b"Content-Length: 0\r\n\r\n"], b"",
            id="announced",
        ),
        pytest.param([b"HTTP/1.0 200 OK\r\n\r\na", b"bc"], b"abc", id="up to the end"),
    ],
)  # fmt: skip
def test_an_answer_is_read_however_it_comes(parts: list[bytes], body: bytes) -> None:
    with saying(*parts) as transport:
        answer = transport.post(b"{}")
        assert (answer.status, answer.body) == (200, body)


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        pytest.param([], "closed before", id="nothing"),
        pytest.param([b"HTTP/1.1 200"], "closed before", id="half a line"),
        pytest.param([OK + b"Content-Length: 9\r\n\r\nabc"], "closed before", id="cut off"),
        pytest.param([b"SSH-2.0-OpenSSH_9.2\r\n"], "HttpParserError", id="another protocol"),
        pytest.param([b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"],
                     "Upgrade", id="another one later"),
        pytest.param([OK + b"A: b\r\n" * 200_000], "too long", id="headers without end"),
        pytest.param([OK + b"Content-Length: 2000000\r\n\r\n" + bytes(2_000_000)], "too long",
                     id="too much"),
        pytest.param([OK, *[b"A: b\r\n"] * 200], "takes too long|timed out", id="drop by drop"),
    ],
)  # fmt: skip
def test_what_is_no_whole_answer_is_none(parts: list[bytes], why: str) -> None:
    with saying(*parts) as transport, pytest.raises(Unreachable, match=why):
        transport.post(b"{}")


def test_a_token_that_would_be_a_header_is_not_sent() -> None:
    transport = Transport("http://127.0.0.1:9", lambda: "token\r\nX: y", timeout=2)
    with pytest.raises(Unreachable, match="--token-file"):
        transport.post(b"{}")
