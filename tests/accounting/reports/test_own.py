"""One's own usage is that of one's account: a name may have been another person's before."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import update

from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.tables import Person
from tests.accounting.reports.world import ALICE, CARLA, at, build, client, fill, full

NOVEMBER = {"from": "2026-11-01", "to": "2026-11-30"}


@pytest.fixture
def two(database: Database) -> Database:
    """Usage of two accounts, of which the second has come to have the first one's name."""
    fill(
        database,
        full("the-first", "alice", at("2026-11-10T08:00"), 2, used=0.5),
        full("the-second", "alice2", at("2026-11-11T08:00"), 2, used=0.5),
        full("by-name", "alice3", at("2026-11-12T08:00"), 2, used=0.5),
    )

    def rename(account: str, name: str, to: str) -> None:
        database.write(
            lambda db: db.execute(
                update(Person).where(Person.name == name).values(name=to, account=account)
            )
        )

    rename("account-1", "alice", "alice")
    rename("account-2", "alice2", "alice")
    rename("imported:0815", "alice3", "alice")
    return database


@pytest.mark.parametrize(
    ("account", "theirs"),
    [
        ("account-1", {"the-first", "by-name"}),
        ("account-2", {"the-second", "by-name"}),
        # Who has not used anything yet, and who has no account at all.
        ("account-3", {"by-name"}),
        ("", {"by-name"}),
        # A hub that knows no accounts.
        (None, {"the-first", "the-second", "by-name"}),
    ],
)
def test_a_reader_reads_what_is_their_accounts(
    two: Database, account: str | None, theirs: set[str]
) -> None:
    reader = replace(ALICE, groups=frozenset(), account=account)
    mine = client(build(two, {"alice": reader}), "alice")

    found = mine.json("sessions", view="own", **NOVEMBER)["sessions"]

    assert {one["session"] for one in found} == theirs
    assert "the-first" in theirs or "the-first" not in mine.get("", **NOVEMBER).text
    for session in ("the-first", "the-second", "by-name"):
        answer = mine.get(f"api/v1/sessions/{session}")
        assert (answer.status_code == 200) == (session in theirs)


def test_an_account_gives_nobody_a_name(two: Database) -> None:
    """Whoever is called otherwise now reads their account's, and nothing by the former name."""
    reader = replace(CARLA, groups=frozenset(), account="account-1")
    mine = client(build(two, {"carla": reader}), "carla")

    found = mine.json("sessions", view="own", **NOVEMBER)["sessions"]

    assert {one["session"] for one in found} == {"the-first"}
