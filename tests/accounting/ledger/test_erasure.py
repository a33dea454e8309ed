"""A person who is erased: no name, nothing that could be made from it, and totals as they were."""

from __future__ import annotations

import io
import uuid
from pathlib import Path

import pytest

from arcetri_accounting.ledger import importrows
from arcetri_accounting.ledger.backup import backup, restore
from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.errors import Refused
from arcetri_accounting.ledger.importrows import Entry
from arcetri_accounting.ledger.retention import erase
from arcetri_accounting.ledger.tables import ImportedRow, Person
from arcetri_accounting.ledger.verify import verify
from tests.accounting.ledger.builders import T0, allocation, batch, seen, segment, started
from tests.accounting.ledger.harness import Ledger
from tests.accounting.ledger.test_files import content
from tests.accounting.ledger.test_importing import GOOD, HEADER, NOW, load

FILE = HEADER + "\n".join(GOOD.replace("j1", name) for name in ("j1", "j2", "j3"))


def _entries(text: str) -> list[Entry]:
    found = importrows.read_csv(io.BytesIO(text.encode()), NOW)
    return [one for one in found if isinstance(one, Entry)]


def test_an_erased_person_keeps_the_usage_and_no_name(ledger: Ledger) -> None:
    alice = allocation()
    ledger.take(batch([segment(1, alice, T0)], alice))
    ledger.see(seen(started(1)))
    days = ledger.days()
    number = erase(ledger.database, "alice", 7)
    later = allocation("s9")
    ledger.take(batch([segment(99, later, T0)], later))
    ledger.see(seen(started(2, "s9")))
    (person,) = ledger.all(Person)
    assert (person.id, person.name, person.erased_at) == (number, None, 7)
    assert ledger.days().keys() == days.keys()
    assert "alice" not in str(content(ledger.database)).replace("a-alice", "")
    with pytest.raises(Refused):
        erase(ledger.database, "alice", 8)


def test_who_knows_an_erased_name_does_not_find_the_person(ledger: Ledger) -> None:
    load(ledger, FILE)
    (before,) = ledger.all(Person)
    assert uuid.UUID(before.account.removeprefix("imported:")).version == 4
    erase(ledger.database, "alice", 7)
    digests = {one.sha256() for one in _entries(FILE)}
    assert not digests & {bytes(row.sha256) for row in ledger.all(ImportedRow)}
    assert "alice" not in str(content(ledger.database))


def test_a_file_that_is_loaded_again_brings_no_erased_name_back(
    ledger: Ledger, tmp_path: Path
) -> None:
    load(ledger, FILE)
    days = ledger.days()
    erase(ledger.database, "alice", 7)
    backup(ledger.database, tmp_path / "backup")
    other = Database.open(f"sqlite:///{tmp_path}/other.sqlite")
    try:
        restore(other, tmp_path / "backup")
        for one in (ledger, Ledger(other)):
            again = load(one, FILE)
            assert (again.loaded, again.already, again.refused) == (0, 3, [])
            assert one.days() == days
            assert [row.name for row in one.all(Person)] == [None]
            assert verify(one.database).findings == []
    finally:
        other.close()


def test_what_is_known_of_an_erased_persons_record_is_still_compared(ledger: Ledger) -> None:
    load(ledger, HEADER + GOOD)
    erase(ledger.database, "alice", 7)
    report = load(ledger, HEADER + GOOD.replace("T04", "T05"))
    assert (report.loaded, report.already, len(report.refused)) == (0, 0, 1)


def test_a_new_record_makes_another_person(ledger: Ledger) -> None:
    """Nothing that is kept could tell that it is the same one."""
    load(ledger, HEADER + GOOD)
    number = erase(ledger.database, "alice", 7)
    load(ledger, HEADER + GOOD.replace("j1", "new"))
    old, new = sorted(ledger.all(Person), key=lambda one: one.id)
    assert (old.id, old.name, new.name) == (number, None, "alice")
    assert old.account != new.account


@pytest.mark.parametrize("site", [None, "LNF"])
def test_one_name_is_one_person_whatever_the_site(ledger: Ledger, site: str | None) -> None:
    load(ledger, HEADER + GOOD)
    load(ledger, HEADER + GOOD.replace("j1", "j2"), site=site)
    assert ledger.count(Person) == 1
