"""Generated requests against an oracle that looks at each use by itself.

Nobody reads what is not theirs, and everybody gets the sums of exactly what is: whatever is asked
for, by whomever, in whatever combination.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arcetri_accounting.ledger.database import Database
from arcetri_accounting.reports.access import Reader
from tests.accounting.reports.world import (
    ASTRO,
    ASTRO_GW,
    CMS,
    PEOPLE,
    SHARES,
    TYPES,
    Use,
    build,
    client,
    fill,
)

ROME = ZoneInfo("Europe/Rome")
OTHER = "/lab/cms2"
"""Begins with another group's name, has no lead, and is in no catalog."""
UPPER = "/LAB/CMS"
"""SQLite would take it for the other spelling."""
GROUPS = [CMS, ASTRO, ASTRO_GW, OTHER, UPPER, "everyone"]
USERS = ["alice", "bruno", "carla", "gino", "dario", "Alice"]
FIRST = date(2026, 10, 20)
LAST = date(2026, 11, 5)
"""Summer time ends within."""
LEADS = {"alice": {CMS}, "carla": {ASTRO, ASTRO_GW}, "gino": {ASTRO_GW}}
READERS = {
    **PEOPLE,
    "board": Reader("", everything=True, names=False),
    "agent": Reader("agent"),
    "Alice": Reader("Alice", frozenset({CMS}), own=True),
}


def _uses() -> list[Use]:
    random = Random(4)  # noqa: S311 - no secret
    begin = round(datetime(2026, 10, 19, tzinfo=UTC).timestamp() * 1000)
    found = []
    for number in range(160):
        flavor = random.choice(list(TYPES))
        dur = random.choice([1, 60_000, 3_600_000, random.randint(1, 100_000_000)])
        found.append(
            Use(
                session=f"s{number // 2 if number % 10 == 1 else number}",
                user=random.choice(USERS),
                group=random.choice(GROUPS),
                flavor=flavor,
                start=begin + random.randint(0, 19 * 86_400_000),
                dur_ms=dur,
                simulated=random.random() < 0.2,
                provenance=random.choice(["agent", "agent", "reconciled", "imported"]),
                kind=random.choice(["notebook", "batch"]),
                millicores=random.choice([0, 500, 2000]),
                device=f"D{number}",
            )
        )
    return found


USES = _uses()


@dataclass(frozen=True)
class Asked:
    reader: str
    by: str
    first: date
    last: date
    view: str | None
    group: str | None
    below: bool
    user: str | None
    flavor: str | None
    kind: str | None
    simulated: str | None

    def params(self) -> dict[str, Any]:
        said = {
            "by": self.by, "from": self.first.isoformat(), "to": self.last.isoformat(),
            "view": self.view, "group": self.group, "below": self.below or None,
            "user": self.user, "flavor": self.flavor, "kind": self.kind,
            "simulated": self.simulated,
        }  # fmt: skip
        return {name: value for name, value in said.items() if value is not None}


days = st.dates(FIRST, LAST)
asked = st.builds(
    Asked,
    reader=st.sampled_from(list(READERS)),
    by=st.sampled_from(["group", "user", "flavor", "day", "month"]),
    first=days,
    last=days,
    view=st.sampled_from([None, "own", "group", "all"]),
    group=st.none() | st.sampled_from([*GROUPS, "/lab", "/lab/astro/", "lab/cms", "", "%"]),
    below=st.booleans(),
    user=st.none() | st.sampled_from([*USERS, "id-alice", "id-carla", "nobody"]),
    flavor=st.none() | st.sampled_from([*TYPES, "no-such"]),
    kind=st.none() | st.sampled_from(["notebook", "batch"]),
    simulated=st.sampled_from([None, "exclude", "only"]),
)


def _meant(one: Asked) -> str | None:
    """The group that is asked for, in the spelling that usage is charged to."""
    if one.group == "everyone":
        return one.group
    return f"/{one.group.strip('/')}" if one.group else None


def view_of(one: Asked) -> str | None:
    """The view that is answered; None where the request is refused."""
    reader = READERS[one.reader]
    leads = LEADS.get(one.reader, set())
    group = _meant(one)
    view = one.view
    if view is None:
        view = "all" if reader.everything else "group" if group in leads else "own"
    if view == "all":
        return view if reader.everything else None
    if view == "group":
        allowed = reader.everything or (bool(leads) and (group is None or group in leads))
        return view if allowed else None
    return view if reader.own and reader.name else None


def counted(use: Use, one: Asked, view: str) -> bool:
    """Whether a use is in what is asked for."""
    reader = READERS[one.reader]
    if view == "own" and use.user != reader.name:
        return False
    if view == "group" and not reader.everything and use.group not in LEADS[one.reader]:
        return False
    group = _meant(one)
    if group and use.group != group:
        below = one.below and use.group.startswith(f"{group}/")
        if not below:
            return False
    if one.user:
        names = reader.names or view == "own" or not reader.everything
        wanted = {f"id-{use.user}"} | ({use.user} if names else set())
        if one.user not in wanted:
            return False
    return (
        one.flavor in (None, use.flavor)
        and one.kind in (None, use.kind)
        and use.simulated == (one.simulated == "only")
    )


def by_day(use: Use) -> Iterator[tuple[date, int]]:
    """Milliseconds of a use on each local day."""
    start = use.start
    end = use.start + use.dur_ms
    day = datetime.fromtimestamp(start // 1000, UTC).astimezone(ROME).date()
    while start < end:
        tomorrow = datetime.combine(day + timedelta(days=1), datetime.min.time(), ROME)
        stop = min(end, round(tomorrow.timestamp()) * 1000)
        yield day, stop - start
        start = stop
        day += timedelta(days=1)


def expected(one: Asked, view: str) -> dict[str, dict[str, Fraction]]:
    """GPU-, FPGA- and core-hours by key, exactly."""
    found: dict[str, dict[str, Fraction]] = {}
    names = READERS[one.reader].names or view == "own"
    for use in USES:
        if not counted(use, one, view):
            continue
        for day, milliseconds in by_day(use):
            if not one.first <= day <= one.last:
                continue
            key = {
                "group": use.group,
                "user": use.user if names else f"id-{use.user}",
                "flavor": use.flavor,
                "day": day.isoformat(),
                "month": day.isoformat()[:7],
            }[one.by]
            sums = found.setdefault(key, dict.fromkeys(("gpu", "fpga", "cpu", "core"), Fraction()))
            hours = Fraction(milliseconds, 3_600_000)
            sums[TYPES[use.flavor]] += hours * SHARES[use.flavor] / 10_080
            sums["core"] += hours * use.millicores / 1000
    return found


@pytest.fixture(scope="module", params=["sqlite", pytest.param("pg", marks=pytest.mark.component)])
def app(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FastAPI]:
    folder: Path = tmp_path_factory.mktemp("requests")
    url = f"sqlite:///{folder}/ledger.sqlite"
    if request.param == "pg":
        url = request.getfixturevalue("postgres_server").new_database()
    database = Database.open(url)
    fill(database, *USES)
    yield build(database, READERS)
    database.close()


GENEROUS = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _close(text: str, exact: Fraction) -> bool:
    return abs(Fraction(text) - exact) <= Fraction(1, 2_000_000)


@GENEROUS
@given(one=asked)
def test_a_report_has_exactly_the_sums_that_are_the_readers_to_see(
    app: FastAPI, one: Asked
) -> None:
    answer = client(app, one.reader).get("api/v1/report", **one.params())
    view = view_of(one)
    if one.last < one.first:
        assert answer.status_code in (403, 422)
        return
    if view is None:
        assert answer.status_code == 403, answer.text
        assert "rows" not in answer.json()
        return
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["view"] == view
    exact = expected(one, view)
    shown = {row["key"]: row for row in found["rows"]}
    assert shown.keys() <= exact.keys()
    for key, sums in exact.items():
        row = shown.get(key)
        if row is None:
            # Only of an allocation without any hours of its own can there be no row.
            assert not sums["gpu"] + sums["fpga"] + sums["core"]
            continue
        assert _close(row["allocated_gpu_hours"], sums["gpu"]), key
        assert _close(row["unobserved_gpu_hours"], sums["gpu"]), key
        assert _close(row["allocated_fpga_hours"], sums["fpga"]), key
        assert _close(row["core_hours"], sums["core"]), key
    whole = sum((sums["gpu"] for sums in exact.values()), Fraction())
    assert _close(found["total"]["allocated_gpu_hours"], whole)


@GENEROUS
@given(one=asked, limit=st.integers(1, 200), offset=st.integers(0, 30))
def test_a_list_of_sessions_holds_exactly_those_that_are_the_readers_to_see(
    app: FastAPI, one: Asked, limit: int, offset: int
) -> None:
    params = {**one.params(), "limit": limit, "offset": offset}
    del params["by"]
    answer = client(app, one.reader).get("api/v1/sessions", **params)
    view = view_of(one)
    if view is None or one.last < one.first:
        assert answer.status_code in (403, 422)
        return
    assert answer.status_code == 200, answer.text
    exact = {
        (use.session, use.user)
        for use in USES
        if counted(use, one, view)
        and any(one.first <= day <= one.last and some for day, some in by_day(use))
    }
    found = answer.json()
    assert found["count"] == len(exact)
    shown = [(row["session"], row["account"].removeprefix("id-")) for row in found["sessions"]]
    assert len(shown) == len(set(shown)) == min(limit, max(0, len(exact) - offset))
    assert set(shown) <= exact


@pytest.mark.parametrize("name", list(READERS))
def test_a_single_session_is_shown_to_those_it_concerns_and_hidden_from_all_others(
    app: FastAPI, name: str
) -> None:
    reader = READERS[name]
    person = client(app, name)
    for session in sorted({use.session for use in USES})[::4]:
        uses = [use for use in USES if use.session == session]
        mine = {
            use.user
            for use in uses
            if reader.everything
            or (reader.own and use.user == reader.name)
            or use.group in LEADS.get(name, set())
        }
        answer = person.get(f"api/v1/sessions/{session}")
        page = person.get("session", id=session)
        if not mine:
            assert (answer.status_code, page.status_code) == (404, 404)
            assert answer.json() == person.get("api/v1/sessions/nowhere").json()
            continue
        assert (answer.status_code, page.status_code) == (200, 200)
        accounts = {one["account"].removeprefix("id-") for one in answer.json()["sessions"]}
        assert accounts == mine


@pytest.mark.parametrize("path", ["completeness", "hints"])
@pytest.mark.parametrize("view", ["own", "group", "all"])
def test_what_is_made_of_reports_is_refused_as_they_are(app: FastAPI, path: str, view: str) -> None:
    allowed = {
        "own": {"alice", "bruno", "carla", "gino", "dario", "Alice"},
        "group": {"alice", "carla", "gino", "dario", "board"},
        "all": {"dario", "board"},
    }[view]
    for name in READERS:
        answer = client(app, name).get(f"api/v1/{path}", view=view)
        assert (answer.status_code == 200) == (name in allowed), (name, answer.text)


def test_a_quota_is_shown_to_those_who_lead_the_group(app: FastAPI) -> None:
    for name in READERS:
        for group in (CMS, ASTRO, ASTRO_GW):
            answer = client(app, name).get("api/v1/quota", group=group)
            allowed = READERS[name].everything or group in LEADS.get(name, set())
            assert (answer.status_code == 200) == allowed, (name, group, answer.text)


def test_one_who_may_read_nothing_reads_nothing(app: FastAPI) -> None:
    agent = client(app, "agent")
    for path in ("report", "completeness", "sessions", "hints", f"quota?group={CMS}"):
        assert agent.get(f"api/v1/{path}").status_code == 403
    for path in ("", "group", "all", "sessions", "chart.svg", "report.csv", "report.pdf"):
        assert agent.get(path).status_code == 403
    stranger = client(app, "stranger")
    assert stranger.get("api/v1/report").status_code == 401
    assert stranger.get("").status_code == 307


def test_names_are_for_those_who_may_see_them(app: FastAPI) -> None:
    board = client(app, "board").get("api/v1/report", by="user", **{"from": "2026-10-01"})
    assert {row["key"] for row in board.json()["rows"]} <= {f"id-{name}" for name in USERS}
    sessions = client(app, "board").get("api/v1/sessions", **{"from": "2026-10-01"}).text
    assert '"alice"' not in sessions
    page = client(app, "board").get("all", **{"from": "2026-10-01"}).text
    assert "alice" not in page.replace("id-alice", "")
