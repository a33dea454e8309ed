"""How long sessions lasted: what the ledger tells the hub, and nobody else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from arcetri_accounting.contract.lengths import SessionLengths
from arcetri_accounting.ledger import lengths
from arcetri_accounting.ledger.settings import LedgerSettings
from arcetri_accounting.ledger.times import now_ms
from tests.accounting.ledger.builders import ended, seen, started, token_file
from tests.accounting.ledger.harness import Ledger
from tests.accounting.ledger.test_http import serving

LENGTHS = "/services/usage/api/v1/lengths"
HOUR = 3_600_000
DAY = 24 * HOUR


def session(number: int, began: int, lasted: int, **changes: Any) -> list[dict[str, Any]]:
    name = f"s{number}"
    return [
        started(2 * number + 1, name, began),
        ended(2 * number + 2, name, began + lasted, **changes),
    ]


def told(ledger: Ledger, now: int, days: int = 60) -> SessionLengths:
    return ledger.database.read(lambda db: lengths.read(db, days, now))


NOW = 1_775_000_000_000


def test_sessions_are_told_oldest_first_with_all_but_who(ledger: Ledger) -> None:
    ledger.see(
        seen(
            *session(0, NOW - 3 * HOUR, HOUR, reason="idle"),
            *session(1, NOW - 5 * HOUR, 2 * HOUR),
            started(9, "running", NOW - HOUR),
        )
    )
    found = told(ledger, NOW)
    assert [(one.began, one.lasted, one.reason) for one in found.sessions] == [
        (NOW - 5 * HOUR, 2 * HOUR, "stopped"),
        (NOW - 3 * HOUR, HOUR, "idle"),
    ]
    first = found.sessions[0]
    assert (first.flavor, first.flavor_type, first.group, first.kind) == (
        *("t4", "gpu", "/g/cms"),
        "notebook",
    )
    assert "alice" not in found.model_dump_json()


def test_those_that_began_before_are_left_out_however_long_they_lasted(ledger: Ledger) -> None:
    ledger.see(seen(*session(0, NOW - 10 * DAY, 9 * DAY), *session(1, NOW - 6 * DAY, 5 * DAY)))
    found = told(ledger, NOW, days=7)
    assert [one.lasted for one in found.sessions] == [5 * DAY]
    assert found.since == NOW - 7 * DAY


def test_an_end_that_nobody_saw_is_no_length(ledger: Ledger) -> None:
    ledger.see(seen(*session(0, NOW - 5 * HOUR, 2 * HOUR, at_is_estimate=True)))
    assert told(ledger, NOW).sessions == ()


def test_of_very_many_the_newest_are_told_and_from_when(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lengths, "MOST", 3)
    events = [
        event for number in range(5) for event in session(number, NOW - (9 - number) * HOUR, 60)
    ]
    ledger.see(seen(*events))
    found = told(ledger, NOW)
    assert [one.began for one in found.sessions] == [NOW - hours * HOUR for hours in (7, 6, 5)]
    assert found.since == NOW - 7 * HOUR


@pytest.fixture
async def client(url: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    credentials = token_file(
        tmp_path / "credentials.json",
        {"token": "agent-token", "role": "agent", "node": "n1"},
        {"token": "hub-token", "role": "witness", "writer": "hub"},
        {"token": "look-token", "role": "metrics"},
    )
    async with serving(LedgerSettings(database=url, credentials=credentials)) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_the_hub_asks_with_the_token_by_which_it_tells(client: httpx.AsyncClient) -> None:
    body = seen(*session(0, now_ms() - 3 * HOUR, HOUR))
    witness = "/services/usage/api/v1/witness"
    assert (await client.post(witness, json=body, headers=bearer("hub-token"))).status_code == 200
    answer = await client.get(LENGTHS, params={"days": 2}, headers=bearer("hub-token"))
    found = SessionLengths.model_validate_json(answer.content)
    assert [one.lasted for one in found.sessions] == [HOUR]
    assert "alice" not in json.dumps(answer.json())


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), (bearer("nobody"), 401), (bearer("agent-token"), 403), (bearer("look-token"), 403)],
)
async def test_nobody_else_is_told(
    client: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    answer = await client.get(LENGTHS, headers=headers)
    assert answer.status_code == status
    assert answer.json()["message"]


@pytest.mark.parametrize("days", ["0", "367", "many"])
async def test_days_have_bounds(client: httpx.AsyncClient, days: str) -> None:
    answer = await client.get(LENGTHS, params={"days": days}, headers=bearer("hub-token"))
    assert answer.status_code == 422
    assert answer.json()["message"]
