"""The ledger over HTTP: who may write what, limits, and errors that say what to do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from arcetri_accounting.ledger.app import build_app
from arcetri_accounting.ledger.settings import LedgerSettings
from tests.accounting.ledger.builders import (
    T0,
    allocation,
    batch,
    ended,
    seen,
    segment,
    started,
    token_file,
)

A = allocation()
BATCHES = "/services/usage/api/v1/batches"
WITNESS = "/services/usage/api/v1/witness"
METRICS = "/services/usage/metrics"
AGENT = {"Authorization": "Bearer agent-token"}
OTHER = {"Authorization": "Bearer other-token"}
HUB = {"Authorization": "Bearer hub-token"}
LOOK = {"Authorization": "Bearer look-token"}


@pytest.fixture
def settings(url: str, tmp_path: Path) -> LedgerSettings:
    credentials = token_file(
        tmp_path / "credentials.json",
        {"token": "agent-token", "role": "agent", "node": "n1"},
        {"token": "other-token", "role": "agent", "node": "n2"},
        {"token": "hub-token", "role": "witness", "writer": "hub"},
        {"token": "look-token", "role": "metrics"},
    )
    return LedgerSettings(database=url, credentials=credentials, max_body=200_000)


@asynccontextmanager
async def serving(
    settings: LedgerSettings, address: str = "10.0.0.1"
) -> AsyncIterator[httpx.AsyncClient]:
    """A client at an address of a ledger in this process."""
    app = build_app(settings, tasks=False)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 1))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://ledger") as client,
    ):
        yield client


@pytest.fixture
async def client(settings: LedgerSettings) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(settings) as client:
        yield client


async def test_an_agent_delivers_and_hears_what_is_stored(client: httpx.AsyncClient) -> None:
    answer = await client.post(BATCHES, json=batch([segment(1, A, T0)], A), headers=AGENT)
    assert answer.status_code == 200
    assert answer.json() == {
        "v": 1, "epoch": "e1", "acknowledged": 1, "stored": 1, "duplicates": 0, "quarantined": [],
    }  # fmt: skip
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_the_witness_delivers(client: httpx.AsyncClient) -> None:
    body = seen(started(1), ended(2, at=T0 + 5))
    assert (await client.post(WITNESS, json=body, headers=HUB)).json()["acknowledged"] == 2


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "code"),
    [
        (BATCHES, batch([]), {}, 401, "unauthorized"),
        (BATCHES, batch([]), {"Authorization": "Bearer nobody"}, 401, "unauthorized"),
        (BATCHES, batch([]), {"Authorization": "Basic agent-token"}, 401, "unauthorized"),
        (BATCHES, batch([]), {"Authorization": b"Bearer \xff"}, 401, "unauthorized"),
        (BATCHES, batch([]), OTHER, 403, "node_mismatch"),
        (BATCHES, batch([], node="N1"), AGENT, 403, "node_mismatch"),
        (BATCHES, batch([]), HUB, 403, "role_mismatch"),
        (BATCHES, batch([]), LOOK, 403, "role_mismatch"),
        (WITNESS, seen(), AGENT, 403, "role_mismatch"),
        (WITNESS, seen(writer="other"), HUB, 403, "writer_mismatch"),
    ],
)  # fmt: skip
async def test_who_may_not_write(
    client: httpx.AsyncClient, path: str, body: Any, headers: Any, status: int, code: str
) -> None:
    answer = await client.post(path, json=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["message"]
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)


@pytest.mark.parametrize("headers", [{}, AGENT, HUB])
async def test_metrics_are_for_this_machine_and_their_own_token(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    assert (await client.get(METRICS, headers=headers)).status_code in (401, 403)
    assert (await client.get(METRICS, headers=LOOK)).status_code == 200


async def test_what_a_proxy_passes_on_is_not_from_this_machine(settings: LedgerSettings) -> None:
    async with serving(settings, "127.0.0.1") as here:
        await here.post(BATCHES, json=batch([segment(1, A, T0)], A, pending=4), headers=AGENT)
        text = (await here.get(METRICS)).text
        assert 'arcetri_ledger_records_total{outcome="stored"} 1.0' in text
        assert 'arcetri_ledger_node_pending_records{node="n1"} 4.0' in text
        assert "arcetri_ledger_database_up 1.0" in text
        assert (
            await here.get(METRICS, headers={"X-Forwarded-For": "127.0.0.1"})
        ).status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"\xff"',
        b"\x00",
        b"[" * 100_000,
        b'{"v":1,"node":"n1"}',
        b'{"v":1e400}',
        b'{"node":"\\ud800"}',
        json.dumps(batch([]) | {"heartbeat": 10**40}).encode(),
        json.dumps(batch([]) | {"records": [[]]}).encode(),
        json.dumps(batch([]) | {"people": {"a" * 99_000: "b"}}).encode(),
    ],
)
async def test_a_hostile_body_gets_a_sentence(client: httpx.AsyncClient, body: bytes) -> None:
    for path, headers in ((BATCHES, AGENT), (WITNESS, HUB)):
        kind = {"Content-Type": "application/json"}
        answer = await client.post(path, content=body, headers=headers | kind)
        if b"aaaa" in body and path == BATCHES:
            # Nobody it mentions is in an allocation: the name is of no use, and goes nowhere.
            assert answer.status_code == 200
            continue
        assert (answer.status_code, set(answer.json())) == (422, {"code", "message", "remedy"})
        assert "Traceback" not in answer.text
        assert len(answer.text) < 3000


async def _parts() -> AsyncIterator[bytes]:
    for _ in range(2):
        yield b" " * 100_001


async def test_a_body_that_is_too_large_is_not_read(client: httpx.AsyncClient) -> None:
    kind = AGENT | {"Content-Type": "application/json"}
    said = await client.post(BATCHES, content=b" " * 200_001, headers=kind)
    streamed = await client.post(BATCHES, content=_parts(), headers=kind)
    for answer in (said, streamed):
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_other_kinds_of_body_are_refused(client: httpx.AsyncClient) -> None:
    packed = AGENT | {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert (await client.post(BATCHES, content=b"{}", headers=AGENT)).status_code == 415
    assert (await client.post(BATCHES, content=b"{}", headers=packed)).status_code == 415


async def test_a_writer_that_sends_too_much_is_told_to_wait(settings: LedgerSettings) -> None:
    slow = settings.model_copy(update={"rate": 0.001, "burst": 3})
    async with serving(slow) as client:
        codes = [
            (await client.post(BATCHES, json=batch([]), headers=AGENT)).status_code
            for _ in range(4)
        ]
        assert codes == [200, 200, 200, 429]
        late = await client.post(BATCHES, json=batch([]), headers=AGENT)
        assert int(late.headers["Retry-After"]) > 0
        assert (
            await client.post(BATCHES, json=batch([], node="n2"), headers=OTHER)
        ).status_code == 200


async def test_credentials_are_read_again_when_they_change(
    client: httpx.AsyncClient, settings: LedgerSettings
) -> None:
    assert settings.credentials is not None
    path = settings.credentials
    new = path.with_name("new.json")
    token_file(new, {"token": "fresh", "role": "agent", "node": "n1"}).replace(path)
    fresh = {"Authorization": "Bearer fresh"}
    assert (await client.post(BATCHES, json=batch([]), headers=fresh)).status_code == 200
    assert (await client.post(BATCHES, json=batch([]), headers=AGENT)).status_code == 401
    path.write_text("spoilt", encoding="utf-8")
    assert (await client.post(BATCHES, json=batch([]), headers=fresh)).status_code == 200


async def test_unknown_paths_and_methods_are_problems_too(client: httpx.AsyncClient) -> None:
    for answer in (
        await client.get("/nowhere"),
        await client.get(BATCHES),
        await client.put(WITNESS),
    ):
        assert set(answer.json()) == {"code", "message", "remedy"}
    assert (await client.get("/services/usage/api/v1/health")).json()["status"] == "ok"


async def test_a_token_of_a_writer_reads_nothing_of_anybody(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/services/usage/api/v1/openapi.json")).json()
    reading = [path for path, methods in schema["paths"].items() if "get" in methods]
    for path in reading:
        if path.endswith(("/health", "/metrics")):
            continue
        # How long sessions lasted, without names, is what the hub alone may know.
        hub = [] if path.endswith("/lengths") else [HUB]
        for headers in ({}, AGENT, LOOK, *hub):
            assert (await client.get(path, headers=headers)).status_code in (302, 401, 403), path
