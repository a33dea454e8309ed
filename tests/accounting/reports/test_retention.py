"""What reports say of a time of which single sessions are no longer kept."""

from __future__ import annotations

import pytest

from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.retention import prune
from arcetri_accounting.ledger.settings import Retention
from tests.accounting.reports.world import CMS, NOW, at, build, client, fill, full

SAID = "Single sessions before 2025-11-22 are no longer kept; totals are."
LONG_AGO = {"from": "2024-05-01", "to": "2024-05-31"}


@pytest.fixture
def pruned(database: Database) -> Database:
    fill(
        database,
        full("old", "alice", at("2024-05-10T08:00"), 2, used=0.5, mem_peak=1 << 30),
        full("across", "alice", at("2025-11-21T20:00"), 8, used=0.5, mem_peak=2 << 30),
        full("new", "alice", at("2026-10-10T08:00"), 3, used=0.5),
    )
    prune(database, Retention(quarter_years=1), NOW)
    return database


@pytest.mark.parametrize("path", ["", "sessions", "group"])
def test_a_page_says_that_sessions_are_not_kept(pruned: Database, path: str) -> None:
    alice = client(build(pruned), "alice")
    page = alice.get(path, **LONG_AGO).text
    assert SAID in page
    assert "2.00" in page
    assert "No session" not in page
    assert "have had no session" not in page
    later = alice.get(path, **{"from": "2026-09-01", "to": "2026-09-30"}).text
    assert SAID not in later
    assert "no session" in later.lower()


def test_the_list_of_what_is_kept_says_from_when(pruned: Database) -> None:
    alice = client(build(pruned), "alice")
    whole = {"from": "2024-05-01", "to": "2026-11-30"}
    page = alice.get("", **whole).text
    assert "2 sessions from 2025-11-22 on" in page
    assert "13.00" in page
    listed = alice.json("sessions", **whole)
    assert [one["session"] for one in listed["sessions"]] == ["new", "across"]
    assert listed["sessions_kept_from"] == "2025-11-22"
    assert alice.json("sessions")["sessions_kept_from"] is None


def test_the_api_and_the_pdf_say_so(pruned: Database) -> None:
    alice = client(build(pruned), "alice")
    report = alice.json("report", view="group", group=CMS, **LONG_AGO)
    assert report["total"]["allocated_gpu_hours"] == "2.000000"
    assert SAID in report["completeness"]["notes"]
    assert report["completeness"]["sessions_kept_from"] == "2025-11-22"
    assert alice.get("report.pdf", **LONG_AGO).status_code == 200


@pytest.mark.parametrize(("name", "hours"), [("old", "2"), ("across", "8"), ("new", "3")])
def test_a_sessions_page_has_the_whole_of_it(pruned: Database, name: str, hours: str) -> None:
    alice = client(build(pruned), "alice")
    (one,) = alice.json(f"sessions/{name}")["sessions"]
    assert one["allocated_gpu_hours"] == f"{hours}.000000"
    assert one["used_gpu_hours"] == f"{int(hours) / 2:.6f}"
    assert one["peak_memory_bytes"] == {"old": 1 << 30, "across": 2 << 30, "new": None}[name]
    page = alice.get("session", id=name).text
    said = "Its quarter hours before 2025-11-22 are no longer kept; its sums are."
    assert (said in page) == (name != "new")
    assert f"<dd>{hours}.00</dd>" in page
