from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import func, select

from arcetri_accounting.contract.share import SHARE_UNITS
from arcetri_accounting.contract.units import from_ms, share_units
from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.tables import Dimensions, ImportedRow, Person, QuarterRow
from arcetri_accounting.reports import history
from arcetri_accounting.reports.history import Made, Somebody
from tests.accounting.reports.world import ASTRO, CATALOG, CMS, build, client, fill

UNTIL = date(2026, 11, 23)
ROME = ZoneInfo("Europe/Rome")


@pytest.fixture(scope="module")
def made() -> list[Made]:
    return list(history.sessions(CATALOG, UNTIL))


def test_the_same_seed_gives_the_same_history(made: list[Made]) -> None:
    assert list(history.sessions(CATALOG, UNTIL)) == made
    assert list(history.sessions(CATALOG, UNTIL, seed=2)) != made


def test_no_device_holds_two_and_no_group_more_than_its_quota(made: list[Made]) -> None:
    by_device: dict[str, list[Made]] = {}
    for one in made:
        by_device.setdefault(one.device, []).append(one)
    for held in by_device.values():
        ordered = sorted(held, key=lambda one: one.first)
        assert all(a.last <= b.first for a, b in pairwise(ordered))
    for group, terms in CATALOG.groups.items():
        for flavor, quota in terms.quotas.items():
            devices = {one.device for one in made if (one.group, one.flavor) == (group, flavor)}
            assert len(devices) <= quota


def test_it_is_plausible(made: list[Made]) -> None:
    assert len(made) > 500
    ends = datetime(2026, 11, 23, tzinfo=ROME).astimezone(UTC)
    for one in made:
        assert one.first < one.last <= ends.timestamp() * 1000
        assert one.last - one.first <= 12 * 3_600_000
        share = share_units(one.terms.share)
        for span in one.spans:
            assert 0 <= span.used_u <= share * span.util_ms
            assert span.util_ms + span.unobserved_ms <= span.dur_ms
            assert span.occupied_ms + span.unobserved_ms <= span.dur_ms
            if share != SHARE_UNITS or one.terms.type != "gpu":
                assert span.util_ms == 0
        for a, b in pairwise(one.spans):
            assert a.t0 + a.dur_ms == b.t0
    days = [from_ms(one.first).astimezone(ROME).date() for one in made]
    working = sum(day.weekday() < 5 and not history.is_holiday(day) for day in days)
    assert working > 0.9 * len(days)
    assert {one.flavor for one in made if one.group == CMS} == {"t4", "a100-1g"}


def test_it_is_written_once_and_marked(database: Database) -> None:
    fill(database)
    count = database.write(lambda db: history.generate(db, CATALOG, UNTIL, days=30))
    assert count > 50
    assert database.write(lambda db: history.generate(db, CATALOG, UNTIL, days=30)) == 0
    assert database.write(lambda db: history.generate(db, CATALOG, UNTIL, days=60, seed=7)) == 0
    kinds = database.read(
        lambda db: set(db.execute(select(Dimensions.provenance, Dimensions.simulated)).all())
    )
    assert kinds == {("generated", True)}
    raw, rolled = database.read(
        lambda db: (
            db.scalar(select(func.sum(ImportedRow.dur_ms))),
            db.scalar(select(func.sum(QuarterRow.dur_ms))),
        )
    )
    assert raw == rolled


def test_it_is_never_added_to_real_devices(ledger: Database) -> None:
    fill(ledger)
    ledger.write(lambda db: history.generate(db, CATALOG, UNTIL, days=30))
    dario = client(build(ledger), "dario")
    assert dario.json("report")["rows"] == []
    only = dario.json("report", simulated="only")
    assert only["completeness"]["gpu_hours_by_provenance"].keys() == {"generated"}
    page = dario.get("all").text
    assert "There are no real devices on this site." in page


def test_people_who_are_known_are_in_it(ledger: Database) -> None:
    known = {CMS: [Somebody("id-alice", "alice")]}
    made = list(history.sessions(CATALOG, UNTIL, days=60, known=known))
    assert {one.who.name for one in made if one.group == CMS} == {"alice"}
    assert not {one.who.name for one in made if one.group == ASTRO} & {"alice"}

    def twice(name: str) -> int:
        return ledger.read(
            lambda db: db.scalar(select(func.count()).where(Person.account == name)) or 0
        )

    fill(ledger)
    ledger.write(lambda db: db.add(Person(account="id-alice", name="alice")))
    ledger.write(lambda db: history.generate(db, CATALOG, UNTIL, days=20, known=known))
    assert twice("id-alice") == 1
    assert client(build(ledger), "alice").json("sessions", simulated="only")["count"] > 0
