"""Who shows no credential that is known is answered so often, by address; and always to the end."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import Message, Receive, Scope, Send

from arcetri_accounting.ledger import limits as limits_module
from arcetri_accounting.ledger.app import build_app
from arcetri_accounting.ledger.limits import Limits
from arcetri_accounting.ledger.settings import LedgerSettings
from arcetri_accounting.ledger.strangers import Strangers, address
from tests.accounting.ledger.builders import batch, token_file
from tests.accounting.reports.world import PEOPLE, NamedReaders

ROOT = "/services/usage/"
BATCHES = f"{ROOT}api/v1/batches"
HEALTH = f"{ROOT}api/v1/health"
BOGUS = {"Authorization": "Bearer nobody"}
AGENT = {"Authorization": "Bearer agent-token"}
NOBODY: frozenset[str] = frozenset()
ALICE = {"Authorization": "Bearer alice"}


def _settings(folder: Path, **changes: Any) -> LedgerSettings:
    credentials = token_file(
        folder / "credentials.json", {"token": "agent-token", "role": "agent", "node": "n1"}
    )
    values = {"stranger_rate": 0.001, "stranger_burst": 3} | changes
    url = f"sqlite:///{folder}/ledger.sqlite"
    return LedgerSettings(database=url, credentials=credentials, **values)


@asynccontextmanager
async def serving(folder: Path, *addresses: str) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Clients at some addresses of one ledger."""
    app = build_app(_settings(folder), NamedReaders(PEOPLE), tasks=False)
    async with app.router.lifespan_context(app):
        yield [
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app, client=(one, 1)), base_url="http://ledger"
            )
            for one in addresses
        ]


async def _codes(client: httpx.AsyncClient, path: str, count: int, **more: Any) -> list[int]:
    return [(await client.get(path, **more)).status_code for _ in range(count)]


async def test_an_address_without_a_credential_is_answered_so_often(tmp_path: Path) -> None:
    async with serving(tmp_path, "10.0.0.1", "10.0.0.2") as (one, other):
        assert await _codes(one, HEALTH, 5) == [200, 200, 200, 429, 429]
        late = await one.get(HEALTH)
        assert late.json()["code"] == "too_many_requests"
        assert int(late.headers["Retry-After"]) > 0
        assert late.headers["X-Content-Type-Options"] == "nosniff"
        assert await _codes(other, HEALTH, 1) == [200]
        # A person gets words, and a monitor is not kept out by guesses at tokens.
        assert await _codes(other, ROOT, 4) == [307, 307, 307, 429]
        page = await other.get(ROOT, headers={"Accept": "text/html"})
        assert page.status_code == 429
        assert page.headers["Content-Type"].startswith("text/html")
        assert "<h1>From this address comes more than the ledger answers" in page.text
        assert int(page.headers["Retry-After"]) > 0
        assert await _codes(other, HEALTH, 1) == [200]


@pytest.mark.parametrize("path", ["batches", "witness"])
async def test_guesses_at_tokens_are_counted(tmp_path: Path, path: str) -> None:
    async with serving(tmp_path, "10.0.0.1") as (client,):
        found = [
            (await client.post(f"{ROOT}api/v1/{path}", json={}, headers=headers)).status_code
            for headers in ({}, BOGUS, {"Authorization": "Bearer other"}, {"Cookie": "x=y"}, BOGUS)
        ]
        assert found == [401, 401, 401, 429, 429]
        # Each guess is another credential, and none of them is known.
        assert await _codes(client, f"{ROOT}api/v1/report", 1, headers=BOGUS) == [429]


async def test_a_writer_is_not_held_up_by_strangers_at_its_address(tmp_path: Path) -> None:
    async with serving(tmp_path, "10.0.0.1") as (client,):
        assert 429 in await _codes(client, ROOT, 5, headers=BOGUS)
        for _ in range(8):
            answer = await client.post(BATCHES, json=batch([]), headers=AGENT)
            assert answer.status_code == 200


async def test_a_reader_who_is_known_is_not_held_up_either(tmp_path: Path) -> None:
    async with serving(tmp_path, "10.0.0.1") as (client,):
        report = f"{ROOT}api/v1/report"
        assert await _codes(client, report, 8, headers=ALICE) == [200] * 8
        assert 429 in await _codes(client, ROOT, 5, headers=BOGUS)
        assert await _codes(client, report, 8, headers=ALICE) == [200] * 8
        # What needs no credential is counted with one too, apart from others.
        assert await _codes(client, HEALTH, 5, headers=ALICE) == [200, 200, 200, 429, 429]


async def test_only_a_proxy_on_this_machine_is_believed(tmp_path: Path) -> None:
    async with serving(tmp_path, "127.0.0.1", "10.0.0.9") as (proxy, elsewhere):
        for real in ("192.0.2.1", "192.0.2.2"):
            codes = [
                (
                    await proxy.get(HEALTH, headers={"X-Forwarded-For": f"198.51.100.{n}, {real}"})
                ).status_code
                for n in range(4)
            ]
            assert codes == [200, 200, 200, 429], "what stands before it was only claimed"
        codes = [
            (await elsewhere.get(HEALTH, headers={"X-Forwarded-For": f"192.0.2.{n}"})).status_code
            for n in range(4)
        ]
        assert codes == [200, 200, 200, 429]


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("10.0.0.1", None, "10.0.0.1"),
        ("127.0.0.1", None, "127.0.0.1"),
        ("127.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("::1", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:127.0.0.1", "::ffff:192.0.2.7", "192.0.2.7"),
        ("127.0.0.1", "rubbish", "127.0.0.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        (None, "192.0.2.7", "here"),
    ],
)
def test_where_a_request_comes_from(peer: str | None, forwarded: str | None, expected: str) -> None:
    headers = [] if forwarded is None else [(b"x-forwarded-for", forwarded.encode())]
    client = None if peer is None else (peer, 1)
    assert address({"type": "http", "client": client, "headers": headers}) == expected


def test_addresses_without_number_take_a_bounded_amount_of_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits_module, "_KEPT", 100)
    limits = Limits(0.001, 2)
    for number in range(1000):
        assert limits.admit(str(number), number / 1000) == 0
        assert len(limits._buckets) <= 100
    # Those who asked last are still counted.
    assert limits.admit("999", 1) == 0
    assert limits.admit("999", 1) > 0


def _scope() -> Scope:
    return {
        "type": "http",
        "client": ("10.0.0.1", 1),
        "headers": [],
        "path": "/x",
        "method": "POST",
    }


@pytest.mark.parametrize(
    ("sizes", "read"), [([10], 1), ([1000, 1000, 1000], 3), ([], 1), ([600_000] * 9, 2)]
)
async def test_a_refused_body_is_read_before_the_answer_where_it_is_small(
    sizes: list[int], read: int
) -> None:
    parts = [b" " * size for size in sizes] or [b""]
    taken = 0

    async def receive() -> Message:
        nonlocal taken
        taken += 1
        part = parts[taken - 1]
        return {"type": "http.request", "body": part, "more_body": taken < len(parts)}

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 401, "headers": []})
        assert (scope["method"], receive is None) == ("POST", False)

    found: list[int] = []

    async def send(message: Message) -> None:
        assert message["status"] == 401
        found.append(taken)

    await Strangers(refuse, Limits(1, 9), NOBODY.__contains__)(_scope(), receive, send)
    assert found == [read]


async def test_a_body_that_never_comes_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arcetri_accounting.ledger.strangers._DRAINED_S", 0.05)

    async def receive() -> Message:
        await asyncio.sleep(60)
        raise AssertionError("unreachable")

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 401, "headers": []})
        assert (scope["method"], receive is None) == ("POST", False)

    found: list[Message] = []

    async def send(message: Message) -> None:
        found.append(message)

    await Strangers(refuse, Limits(1, 9), NOBODY.__contains__)(_scope(), receive, send)
    assert len(found) == 1


@contextmanager
def listening(folder: Path) -> Iterator[int]:
    """A ledger at a port of this machine."""
    app = build_app(_settings(folder, stranger_burst=1000), tasks=False)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", proxy_headers=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(30)


def test_a_refusal_arrives_though_the_body_is_still_on_its_way(tmp_path: Path) -> None:
    """Without ``Connection: keep-alive`` a server that has answered closes what is half read."""
    body = b" " * 400_000
    head = f"POST {BATCHES} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with listening(tmp_path) as port:
        for _ in range(40):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(head.encode())
                for at in range(0, len(body), 50_000):
                    client.sendall(body[at : at + 50_000])
                answer = b""
                while part := client.recv(65_536):
                    answer += part
            assert answer.startswith(b"HTTP/1.1 401 ")
            assert answer.endswith(b"}")
