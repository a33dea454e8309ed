"""What agent and spawner say differently is shown to whoever sees the session, nobody else."""

from __future__ import annotations

import pytest
from sqlalchemy.orm import Session

from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.tables import DiscrepancyRow
from tests.accounting.reports.world import ASTRO, CMS, NOW, at, build, client, fill, full

OCTOBER = {"from": "2026-10-01", "to": "2026-10-31"}
NOVEMBER = {"from": "2026-11-01", "to": "2026-11-30"}


@pytest.fixture
def disputed(database: Database) -> Database:
    fill(
        database,
        full("cms-session", "alice", at("2026-11-10T08:00"), 2, used=0.5),
        full("astro-session", "carla", at("2026-11-11T08:00"), 2, used=0.5, group=ASTRO),
    )

    def dispute(db: Session) -> None:
        for number, session in enumerate(("cms-session", "astro-session")):
            db.add(
                DiscrepancyRow(
                    session=session,
                    code="group",
                    agent_says="/said/by/the/agent",
                    witness_says="<b>/said/by/the/spawner</b>",
                    found_at=NOW + number,
                )
            )

    database.write(dispute)
    return database


@pytest.mark.parametrize(
    ("reader", "view", "group", "sessions"),
    [
        ("alice", "own", None, ["cms-session"]),
        ("carla", "own", None, ["astro-session"]),
        ("alice", "group", CMS, ["cms-session"]),
        ("dario", "all", None, ["astro-session", "cms-session"]),
        ("dario", "group", ASTRO, ["astro-session"]),
    ],
)
def test_they_are_listed_for_who_sees_the_sessions(
    disputed: Database, reader: str, view: str, group: str | None, sessions: list[str]
) -> None:
    mine = client(build(disputed), reader)
    asked = {**NOVEMBER, "view": view, **({"group": group} if group else {})}

    found = mine.json("discrepancies", **asked)
    assert found["view"] == view
    assert [one["session"] for one in found["discrepancies"]] == sessions
    assert found["discrepancies"][0] == {
        "session": sessions[0],
        "code": "group",
        "agent_says": "/said/by/the/agent",
        "witness_says": "<b>/said/by/the/spawner</b>",
    }
    assert mine.json("discrepancies", **{**asked, **OCTOBER})["discrepancies"] == []

    path = {"own": "", "group": "group", "all": "all"}[view]
    page = mine.get(path, **NOVEMBER, **({"group": group} if group else {})).text
    assert "Told differently" in page
    assert "&lt;b&gt;/said/by/the/spawner&lt;/b&gt;" in page
    assert all(session[:8] in page for session in sessions)

    (one, *_) = sessions
    assert mine.json(f"sessions/{one}")["discrepancies"] == [found["discrepancies"][0]]
    assert "/said/by/the/agent" in mine.get("session", id=one).text


def test_nobody_lists_what_is_another_groups(disputed: Database) -> None:
    lead = client(build(disputed), "alice")
    refused = lead.get("api/v1/discrepancies", **NOVEMBER, view="group", group=ASTRO)
    assert refused.status_code == 403
    assert client(build(disputed), "bruno").json("discrepancies", **NOVEMBER)["discrepancies"] == []
