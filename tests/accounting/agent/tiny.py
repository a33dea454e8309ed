"""A ledger of a few lines: holds every delivery to the contract, and keeps what it was given."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from arcetri_accounting.contract.usage import (
    Acknowledgement,
    Allocation,
    Batch,
    Gap,
    Presence,
    Segment,
    Usage,
    digest,
    record_adapter,
)

TOKEN = "tiny-token"
Reply = tuple[int, bytes]


class TinyLedger:
    """What has arrived; ``faults`` answer before it does, one a request."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.records: dict[tuple[str, str, int], Segment | Presence | Gap] = {}
        self.allocations: dict[str, Allocation] = {}
        self.people: dict[str, str] = {}
        self.open: list[Usage] = []
        self.batches: list[Batch] = []
        self.heartbeat = -1
        self.faults: list[Callable[[Batch], Reply | None]] = []
        self.problems: list[str] = []
        self.changed = threading.Condition(self.lock)

    def take(self, body: bytes, token: str) -> Reply:
        if token != f"Bearer {TOKEN}":
            return 401, b"{}"
        batch = Batch.model_validate_json(body)
        with self.lock:
            if self.faults:
                reply = self.faults.pop(0)(batch)
                if reply is not None:
                    return reply
            return 200, self._store(batch)

    def _store(self, batch: Batch) -> bytes:
        self.batches.append(batch)
        self.people |= batch.people
        for key, allocation in batch.allocations.items():
            if allocation.key() != key:
                self.problems.append(f"the key {key} is not that of its allocation")
            self.allocations[key] = allocation
        stored = duplicates = 0
        for raw in batch.records:
            record = record_adapter.validate_python(raw)
            name = (batch.epoch, batch.boot, record.seq)
            if isinstance(record, Segment) and record.allocation not in batch.allocations:
                self.problems.append(f"record {record.seq} has no allocation")
            before = self.records.get(name)
            if before is None:
                self.records[name] = record
                stored += 1
            else:
                duplicates += 1
                if digest(before) != digest(record):
                    self.problems.append(f"number {record.seq} was given twice")
        for usage in batch.open:
            if usage.allocation not in batch.allocations:
                self.problems.append("the tail has no allocation")
        if batch.heartbeat < self.heartbeat:
            self.problems.append(f"heartbeat {batch.heartbeat} after {self.heartbeat}")
        self.heartbeat = batch.heartbeat
        self.open = batch.open
        seqs = {seq for epoch, _boot, seq in self.records if epoch == batch.epoch}
        # What the agent no longer has will never come.
        contiguous = max(batch.kept_from - 1, 0)
        while contiguous + 1 in seqs:
            contiguous += 1
        self.changed.notify_all()
        return (
            Acknowledgement(
                epoch=batch.epoch, acknowledged=contiguous, stored=stored, duplicates=duplicates
            )
            .model_dump_json()
            .encode()
        )

    def segments(self, session: str | None = None) -> list[Segment]:
        found = [record for record in self.records.values() if isinstance(record, Segment)]
        return [
            record
            for record in found
            if session is None or self.allocations[record.allocation].session == session
        ]

    def presences(self) -> list[Presence]:
        return [record for record in self.records.values() if isinstance(record, Presence)]

    def gaps(self) -> list[Gap]:
        return [record for record in self.records.values() if isinstance(record, Gap)]

    def running(self, session: str) -> list[Usage]:
        return [u for u in self.open if self.allocations[u.allocation].session == session]

    def milliseconds(self, session: str) -> int:
        """Allocated, cut or not."""
        return sum(u.dur_ms for u in [*self.segments(session), *self.running(session)])

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
        with self.changed:
            if not self.changed.wait_for(condition, seconds):
                raise AssertionError(f"not within {seconds} s: {what}; problems {self.problems}")


@contextmanager
def serving(ledger: TinyLedger, port: int = 0) -> Iterator[str]:
    """Serve the ledger on loopback; yields its address."""

    connections: list[socket.socket] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 20

        def setup(self) -> None:
            super().setup()
            connections.append(self.connection)

        def handle(self) -> None:
            # Who asked may have died, or this server been told to end.
            with suppress(OSError):
                super().handle()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path != "/services/usage/api/v1/batches":
                status, answer = 404, b"{}"
            else:
                status, answer = ledger.take(body, self.headers.get("Authorization", ""))
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/services/usage"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
