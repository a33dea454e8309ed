"""The hub asks how long sessions last: whatever the ledger does, what it said last stays."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from arcetri_accounting.client import PastLengths
from arcetri_accounting.client import lengths as module
from arcetri_accounting.contract.lengths import SessionLength, SessionLengths

pytestmark = pytest.mark.component

ONE = SessionLength(
    flavor="t4",
    flavor_type="gpu",
    group="/lab/cms",
    kind="notebook",
    began=1_775_000_000_000,
    lasted=3_600_000,
    reason="idle",
)


def said(at: int = 1_775_100_000_000) -> bytes:
    return SessionLengths(at=at, since=0, sessions=(ONE,)).model_dump_json().encode()


class Ledger:
    """A ledger at the wire, which answers what a test tells it to."""

    def __init__(self) -> None:
        self.answer: tuple[int, bytes] = (200, said())
        self.asked: list[str] = []
        ledger = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                assert self.path == "/services/usage/api/v1/lengths?days=60"
                ledger.asked.append(self.headers["Authorization"])
                status, body = ledger.answer
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/services/usage/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    ledger = Ledger()
    yield ledger
    ledger.close()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_EVERY", 0.05)
    monkeypatch.setattr(module, "_AGAIN", (0.02, 0.05))


@pytest.fixture
def token(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("a secret\n")
    return file


@contextlib.asynccontextmanager
async def asking(past: PastLengths) -> AsyncIterator[None]:
    task = asyncio.create_task(past.run())
    try:
        yield
    finally:
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.01)


async def test_what_the_ledger_says_is_kept_and_asked_for_again(
    ledger: Ledger, token: Path
) -> None:
    past = PastLengths(ledger.url, token)
    assert past.heard is None
    async with asking(past):
        await until(lambda: past.heard)
        assert past.heard is not None
        assert past.heard.lengths.sessions == (ONE,)
        ledger.answer = (200, said(at=5))
        await until(lambda: past.heard and past.heard.lengths.at == 5)
    assert set(ledger.asked) == {"Bearer a secret"}


async def test_the_token_is_read_anew(ledger: Ledger, token: Path) -> None:
    async with asking(PastLengths(ledger.url, token)):
        await until(lambda: ledger.asked)
        await asyncio.to_thread(token.write_text, "another\n")
        await until(lambda: "Bearer another" in ledger.asked)


@pytest.mark.parametrize(
    "trouble",
    [(503, b"{}"), (403, b"{}"), (200, b"<html>"), (200, b'{"v": 2}'), (200, b"")],
    ids=["away", "forbidden", "a page", "another version", "nothing"],
)
async def test_what_was_said_last_stays_while_the_ledger_says_nothing(
    ledger: Ledger, token: Path, trouble: tuple[int, bytes]
) -> None:
    past = PastLengths(ledger.url, token)
    async with asking(past):
        await until(lambda: past.heard)
        ledger.answer = trouble
        asked = len(ledger.asked)
        await until(lambda: len(ledger.asked) > asked + 2)
        assert past.heard is not None
        assert past.heard.lengths.sessions == (ONE,)
        ledger.answer = (200, said(at=7))
        await until(lambda: past.heard and past.heard.lengths.at == 7)


async def test_without_a_ledger_or_a_token_nothing_is_known(tmp_path: Path, token: Path) -> None:
    nobody = PastLengths("http://127.0.0.1:9/services/usage/", token)
    missing = PastLengths("http://127.0.0.1:9/services/usage/", tmp_path / "none")
    async with asking(nobody), asking(missing):
        await asyncio.sleep(0.2)
    assert (nobody.heard, missing.heard) == (None, None)
