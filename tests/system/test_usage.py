"""Usage on the whole platform: a session's hours show while it runs, and stay when things die."""

import json
import os
import re
import signal
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.support.platform import Platform, running, until

pytestmark = pytest.mark.component

FRESH = 30.0
"""Seconds within which a start and a stop must show."""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with running(tmp_path_factory.mktemp("usage") / "state", "--no-history") as platform:
        yield platform


def _sessions(
    platform: Platform, token: str, *, view: str = "own", simulated: str = "both"
) -> list[dict[str, Any]]:
    answer = httpx.get(
        f"{platform.url}/services/usage/api/v1/sessions",
        params={"view": view, "simulated": simulated},
        headers={"Authorization": f"token {token}"},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    sessions: list[dict[str, Any]] = answer.json()["sessions"]
    return sessions


def _one(platform: Platform, token: str, session: object) -> dict[str, Any]:
    found = [row for row in _sessions(platform, token) if row["session"] == str(session)]
    return found[0] if found else {}


def _stop(platform: Platform, name: str) -> None:
    with platform.api(name) as api:
        assert api.delete(f"/users/{name}/server").status_code in (202, 204)
        until(lambda: not platform.server(api, name), "the session is stopped")


def _lease_hours(platform: Platform, session: object) -> Decimal:
    """What the lease journal says a whole device was held, in hours."""
    from arcetri_accounting.contract import parse_journal_line

    lines = (platform.state / "journal" / "leases.jsonl").read_bytes().splitlines()
    records = [r for r in map(parse_journal_line, lines) if r.session == str(session)]
    start, end = sorted(records, key=lambda record: record.seq)
    return Decimal(end.boottime_ms - start.boottime_ms) / 3_600_000


def test_a_session_shows_while_it_runs_grows_and_is_final_after_its_stop(
    platform: Platform,
) -> None:
    token = platform.token("alice")
    session = platform.start_session("alice", flavor="t4", environment="python", size="small")
    until(
        lambda: _one(platform, token, session).get("running"), "the session shows", patience=FRESH
    )
    first = Decimal(_one(platform, token, session)["provisional_gpu_hours"])
    until(
        lambda: Decimal(_one(platform, token, session)["provisional_gpu_hours"]) > first,
        "its hours grow",
        patience=FRESH,
    )
    _stop(platform, "alice")
    until(
        lambda: _one(platform, token, session).get("running") is False,
        "the session is final",
        patience=FRESH,
    )
    final = _one(platform, token, session)
    hours = _lease_hours(platform, session)
    assert abs(Decimal(final["allocated_gpu_hours"]) - hours) < Decimal("0.000001")
    assert final["allocated_gpu_hours"] == final["unobserved_gpu_hours"]
    assert final["used_fraction"] is None
    assert final["simulated"] is True
    assert datetime.fromisoformat(final["ended"]) > datetime.fromisoformat(final["started"])


def test_nothing_is_lost_when_ledger_and_agent_are_killed_under_a_session(
    platform: Platform,
) -> None:
    token = platform.token("alice")
    session = platform.start_session("alice", flavor="t4", environment="python", size="small")
    for part in ("arcetri_accounting.agent", "arcetri_accounting.ledger"):
        killed = platform.child(part)
        os.kill(killed, signal.SIGKILL)
        until(lambda part=part, killed=killed: _other(platform, part, killed), f"{part} is back")
    _stop(platform, "alice")

    def final() -> bool:
        try:
            return _one(platform, token, session).get("running") is False
        except (httpx.HTTPError, AssertionError):
            return False  # the ledger is on its way back

    until(final, "the session is final", patience=60)
    said = Decimal(_one(platform, token, session)["allocated_gpu_hours"])
    assert abs(said - _lease_hours(platform, session)) < Decimal("0.000001")


def _agents_figure(platform: Platform, name: str) -> float | None:
    """A figure of the agent, found as an operator's Prometheus finds it; None while it is away."""
    ((target,),) = (
        one["targets"] for one in json.loads((platform.state / "agent-metrics.json").read_text())
    )
    try:
        text = httpx.get(f"http://{target}/metrics", timeout=10).text
    except httpx.HTTPError:
        return None
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(line.split()[1])


def test_the_agents_figures_are_at_hand_and_stay_where_they_are(platform: Platform) -> None:
    before = platform.child("arcetri_accounting.agent")
    assert _agents_figure(platform, "arcetri_agent_unwritten_depth") == 0
    os.kill(before, signal.SIGKILL)
    until(
        lambda: (
            _other(platform, "arcetri_accounting.agent", before)
            and _agents_figure(platform, "arcetri_agent_cycle_total")
        ),
        "the agent that is back is scraped again",
    )
    resident = psutil.Process(platform.child("arcetri_accounting.agent")).memory_info().rss
    assert resident < 60e6, "50 MB, and what structlog loads of the tools of development"


def _other(platform: Platform, part: str, pid: int) -> bool:
    try:
        return platform.child(part) != pid
    except (LookupError, psutil.NoSuchProcess):
        return False


def test_the_page_opens_with_the_login_of_the_hub(platform: Platform) -> None:
    with platform.login("alice") as browser:
        page = browser.get("/services/usage/", follow_redirects=True)
        assert page.status_code == 200, page.text
        assert "alice" in page.text
        home = browser.get("/hub/home").text
        assert "/services/usage/" in home


def test_nobody_reads_without_a_login_and_nobody_reads_others(platform: Platform) -> None:
    api = f"{platform.url}/services/usage/api/v1"
    assert httpx.get(f"{api}/sessions").status_code == 401
    agent = (platform.state / "secrets" / "agent").read_text().strip()
    headers = {"Authorization": f"Bearer {agent}"}
    assert httpx.get(f"{api}/sessions", headers=headers).status_code == 401
    bruno = {"Authorization": f"token {platform.token('bruno')}"}
    everybody = httpx.get(f"{api}/sessions?view=all&simulated=only", headers=bruno)
    assert everybody.status_code == 403
    mine = httpx.get(f"{api}/sessions?simulated=only", headers=bruno).json()["sessions"]
    assert all(row["user"] == "bruno" for row in mine)


def test_the_catalogs_admins_read_everything(platform: Platform) -> None:
    admin = next(
        user["name"] for user in platform.users if any("admins" in g for g in user["groups"])
    )
    headers = {"Authorization": f"token {platform.token(admin)}"}
    session = platform.start_session("bruno", flavor="cpu", environment="python", size="small")

    def seen() -> bool:
        answer = httpx.get(
            f"{platform.url}/services/usage/api/v1/sessions?view=all", headers=headers
        )
        assert answer.status_code == 200, answer.text
        return str(session) in {row["session"] for row in answer.json()["sessions"]}

    until(seen, "the admin sees the session", patience=FRESH)
    _stop(platform, "bruno")


def test_the_hub_hears_from_the_ledger_how_long_sessions_last(platform: Platform) -> None:
    """Of what it heard, expected waits are made; the ledger tells nobody else."""
    witness = (platform.state / "secrets" / "witness").read_text().strip()
    api = f"{platform.url}/services/usage/api/v1"
    session = platform.start_session("bruno", flavor="cpu", environment="python", size="small")
    _stop(platform, "bruno")

    def told() -> bool:
        answer = httpx.get(f"{api}/lengths", headers={"Authorization": f"Bearer {witness}"})
        assert answer.status_code == 200, answer.text
        assert str(session) not in answer.text
        assert "bruno" not in answer.text
        return bool(answer.json()["sessions"])

    until(told, "the ledger tells of the session", patience=FRESH)
    bruno = {"Authorization": f"token {platform.token('bruno')}"}
    assert httpx.get(f"{api}/lengths", headers=bruno).status_code == 401
    text = httpx.get(
        f"{platform.url}/hub/metrics",
        headers={"Authorization": f"token {platform.token('dario')}"},
        timeout=30,
    ).text
    found = re.search(r"^arcetri_wait_history_timestamp_seconds (\S+)$", text, re.MULTILINE)
    assert found, text[:500]
    assert float(found[1]) > 0


def test_ending_the_platform_ends_its_ledger_and_agent(tmp_path: Path) -> None:
    with running(tmp_path / "state", "--no-history") as platform:
        parts = [platform.child(f"arcetri_accounting.{part}") for part in ("agent", "ledger")]
    assert not any(Path(f"/proc/{pid}").exists() for pid in parts)


def test_who_gets_a_name_anew_reads_nothing_of_the_one_before(tmp_path: Path) -> None:
    """After ``--fresh`` the ledger goes on, and accounts are made anew."""
    state = tmp_path / "state"
    with running(state, "--no-history") as platform:
        before = _account(platform, "alice")
        session = platform.start_session("alice", flavor="cpu")
        token = platform.token("alice")
        until(lambda: _one(platform, token, session), "it shows", patience=FRESH)
        _stop(platform, "alice")
        until(lambda: _one(platform, token, session).get("running") is False, "it is final")
    with running(state, "--no-history", "--fresh") as platform:
        assert _account(platform, "alice") != before
        token, admin = platform.token("alice"), platform.token("dario")
        second = platform.start_session("alice", flavor="cpu")
        until(lambda: _one(platform, token, second), "hers shows", patience=FRESH)

        assert _one(platform, token, session) == {}
        assert len(_sessions(platform, token)) == 1
        rows = _sessions(platform, admin, view="all")
        assert {row["session"] for row in rows} == {str(session), str(second)}
        _stop(platform, "alice")


def _account(platform: Platform, name: str) -> str:
    with platform.api(name) as api:
        said = api.get("/arcetri/account").raise_for_status().json()
    assert said["name"] == name
    ((kept,),) = platform.rows("select id from arcetri_account where name = ?", name)
    assert said["account"] == kept
    return str(kept)
