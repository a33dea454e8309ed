"""Writers of a cluster: an agent's token names its node, and it writes for no other."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from arcetri_accounting.client.apiserver import ApiServer
from arcetri_accounting.ledger.app import build_app
from arcetri_accounting.ledger.errors import Refused
from arcetri_accounting.ledger.settings import LedgerSettings
from tests.accounting.client.apiserver import NOBODY, Api, Status, running, somebody, token
from tests.accounting.ledger.builders import (
    T0,
    allocation,
    batch,
    seen,
    segment,
    started,
    token_file,
)

pytestmark = pytest.mark.component

A = allocation()
BATCHES = "/services/usage/api/v1/batches"
WITNESS = "/services/usage/api/v1/witness"
AGENT, OTHER, HUB, STRANGER = (token(sub=name) for name in ("agent", "other", "hub", "stranger"))
KNOWN: dict[str, Status] = {
    AGENT: somebody(node_name="n1"),
    OTHER: somebody(node_name="n2"),
    HUB: somebody("system:serviceaccount:arcetri:arcetri-hub"),
    STRANGER: somebody("system:serviceaccount:sessions:default", node_name="n1"),
    token(sub="unbound"): somebody(),
}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with running(tmp_path) as found:
        found.answer = lambda sent: (201, KNOWN.get(sent, NOBODY))
        yield found


@pytest.fixture
def settings(url: str, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LedgerSettings:
    shutil.copy(api.server.ca_file, tmp_path / "ca.crt")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    # A wire without TLS: the certificate's check is tried on the real cluster.
    monkeypatch.setattr(ApiServer, "of_pod", classmethod(lambda *_, **__: api.server))
    file = token_file(
        tmp_path / "credentials.json", {"token": "a file's", "role": "agent", "node": "n1"}
    )
    return LedgerSettings(
        database=url,
        credentials=file,
        agent_accounts=("agents:arcetri-agent",),
        witness_accounts={"arcetri:arcetri-hub": "hub"},
        stranger_burst=5,
        stranger_rate=0.001,
    )


@asynccontextmanager
async def serving(settings: LedgerSettings) -> AsyncIterator[httpx.AsyncClient]:
    app = build_app(settings, tasks=False)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("10.0.0.1", 1))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://ledger") as client,
    ):
        yield client


@pytest.fixture
async def client(settings: LedgerSettings) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(settings) as client:
        yield client


def bearer(sent: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {sent}"}


async def deliver(client: httpx.AsyncClient, sent: str, seq: int = 1) -> httpx.Response:
    body = batch([segment(seq, A, T0)], A)
    return await client.post(BATCHES, json=body, headers=bearer(sent))


async def test_an_agents_token_writes_for_its_own_node(client: httpx.AsyncClient, api: Api) -> None:
    for seq in (1, 2):
        answer = await deliver(client, AGENT, seq)
        assert (answer.status_code, answer.json()["stored"]) == (200, 1), answer.text
    assert len(api.asked) == 1


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (OTHER, 403, "node_mismatch"),
        (STRANGER, 403, "account_unknown"),
        (HUB, 403, "role_mismatch"),
        (token(sub="unbound"), 403, "node_unknown"),
        (token(sub="forged"), 401, "unauthorized"),
        (token("https://kubernetes.default.svc"), 401, "unauthorized"),
        ("no token", 401, "unauthorized"),
    ],
)
async def test_nobody_else_writes_usage(
    client: httpx.AsyncClient, sent: str, status: int, code: str
) -> None:
    answer = await deliver(client, sent)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["remedy"]


async def test_the_hubs_token_tells_of_starts_and_an_agents_does_not(
    client: httpx.AsyncClient,
) -> None:
    body = seen(started(1))
    refused = await client.post(WITNESS, json=body, headers=bearer(AGENT))
    assert (refused.status_code, refused.json()["code"]) == (403, "role_mismatch")
    told = await client.post(WITNESS, json=body, headers=bearer(HUB))
    assert (told.status_code, told.json()["stored"]) == (200, 1), told.text
    forged = await client.post(WITNESS, json={**body, "writer": "x"}, headers=bearer(HUB))
    assert forged.json()["code"] == "writer_mismatch"


async def test_a_token_of_a_writer_reads_nothing(client: httpx.AsyncClient) -> None:
    for sent in (AGENT, HUB):
        for path in ("/metrics", "/api/v1/report", "/"):
            answer = await client.get(f"/services/usage{path}", headers=bearer(sent))
            assert answer.status_code in (401, 403, 404), (path, answer.text)


async def test_tokens_of_the_file_write_as_before_and_without_the_api_server(
    client: httpx.AsyncClient, api: Api
) -> None:
    api.answer = lambda _: (500, NOBODY)
    assert (await deliver(client, "a file's")).status_code == 200
    assert api.asked == []


async def test_while_the_api_server_is_away_writers_are_told_to_send_again(
    client: httpx.AsyncClient, api: Api
) -> None:
    away = api.answer
    api.answer = lambda _: (500, NOBODY)
    answer = await deliver(client, AGENT)
    assert (answer.status_code, answer.json()["code"]) == (503, "token_review_unavailable")
    assert answer.headers["Retry-After"] == "5"
    api.answer = away
    assert (await deliver(client, AGENT)).status_code == 200


async def test_an_agent_is_not_held_up_by_strangers_at_its_address(
    client: httpx.AsyncClient,
) -> None:
    assert (await deliver(client, AGENT)).status_code == 200
    statuses = [(await deliver(client, token(sub=f"s{number}"))).status_code for number in range(8)]
    assert statuses.count(429) == 3
    assert (await deliver(client, AGENT, 2)).status_code == 200


def test_outside_of_a_cluster_no_account_of_one_can_write(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    settings = LedgerSettings(
        database=url, agent_accounts=("agents:agent",), service_account=tmp_path
    )
    with pytest.raises(Refused, match="runs in none") as refused:
        build_app(settings, tasks=False)
    assert refused.value.code == "not_in_cluster"


@pytest.mark.parametrize("wrong", ["agent", "Agents:agent", "agents:agent:x", ":"])
def test_an_account_is_named_with_its_namespace(url: str, wrong: str) -> None:
    with pytest.raises(ValueError, match="agent_accounts"):
        LedgerSettings(database=url, agent_accounts=(wrong,))
