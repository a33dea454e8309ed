"""Each released schema with data in it is brought up to date; a failed migration changes nothing.

``dumps/NNNN.backup`` is what ``arcetri-ledger backup`` of that release wrote. A release adds its
own with ``python -m tests.accounting.ledger.test_upgrades FILE``, and none is ever changed.

No revision can be added without a dump of each one before it.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.orm import Session

from arcetri_accounting.ledger import exporting, importing, migrate
from arcetri_accounting.ledger.backup import backup, restore
from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.errors import DatabaseError, Refused
from arcetri_accounting.ledger.migrate import VERSION_TABLE
from arcetri_accounting.ledger.tables import ERASED, ImportedRow, Person
from arcetri_accounting.ledger.verify import verify
from tests.accounting.ledger.builders import T0, allocation, batch, segment
from tests.accounting.ledger.harness import Ledger
from tests.accounting.ledger.test_files import fill
from tests.accounting.ledger.test_importing import GOOD, HEADER, lines

DUMPS = sorted((Path(__file__).parent / "dumps").glob("*.backup"))


def _version(database: Database) -> str:
    found: str = database.read(
        lambda db: db.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one()  # noqa: S608 - a constant
    )
    return found


def test_every_revision_has_a_dump() -> None:
    folder = Path(migrate.__file__).parent / "migrations"
    revisions = {script.revision for script in ScriptDirectory(str(folder)).walk_revisions()}
    assert {dump.stem for dump in DUMPS} == revisions


@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.stem)
def test_a_dump_is_of_the_revision_it_is_named_after(dump: Path) -> None:
    with gzip.open(dump, "rt", encoding="utf-8") as file:
        assert json.loads(file.readline())["schema"] == dump.stem


@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.stem)
def test_a_released_schema_with_data_is_brought_up_to_date(ledger: Ledger, dump: Path) -> None:
    restore(ledger.database, dump)
    assert verify(ledger.database).findings == []
    assert sum(sums[1] for sums in ledger.quarters().values()) > 0
    new = allocation("later")
    assert ledger.take(batch([segment(100, new, T0)], new)).stored == 1
    assert verify(ledger.database).findings == []


def _with_setting(dump: Path, target: Path, name: str, value: str) -> Path:
    """The same backup with a setting more."""
    rows = [json.loads(line) for line in gzip.decompress(dump.read_bytes()).splitlines()]
    at = next(n for n, row in enumerate(rows) if isinstance(row, dict) and _is_settings(row))
    rows.insert(at + 1, [name, value])
    rows[-1]["rows"] += 1
    target.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return target


def _is_settings(row: dict[str, object]) -> bool:
    return row.get("table") == "usage_setting"


@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.stem)
def test_months_that_the_first_schema_dropped_are_known_to_be_missing(
    ledger: Ledger, dump: Path, tmp_path: Path
) -> None:
    january = 1_767_225_600_000
    pruned = _with_setting(
        dump, tmp_path / "pruned", "quarters_kept_from", str(january // 900_000 + 1)
    )
    restore(ledger.database, pruned)

    def export(month: int) -> int:
        first = date(2026, month, 1)
        return ledger.database.read(
            lambda db: len(list(exporting.months(db, first, date(2026, 4, 1), simulated=False)))
        )

    assert export(2) > 0
    if dump.stem == "0001":
        with pytest.raises(Refused, match="before 2026-02 is no longer known"):
            export(1)
    else:
        assert export(1) > 0


@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.stem)
def test_own_records_are_still_loaded_once(ledger: Ledger, dump: Path, tmp_path: Path) -> None:
    """The first schema knew them by the name that the site had; that of the dump's is theirs."""
    text_ = gzip.decompress(dump.read_bytes()).decode()
    own = tmp_path / "own"
    own.write_bytes(gzip.compress(text_.replace('["site","CNAF"]', '["site","old"]').encode()))
    restore(ledger.database, own)
    days = ledger.days()
    site = None if dump.stem == "0001" else "old"
    found = importing.load(ledger.database, lines(HEADER + GOOD), site=site, kind="batch")
    assert (found.loaded, found.already) == (0, 1)
    assert ledger.days() == days


@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.stem)
def test_what_was_made_from_names_is_not_kept(ledger: Ledger, dump: Path, tmp_path: Path) -> None:
    """The first schema made ids of imported persons, and digests of their records, from names."""
    old = tmp_path / "old"
    erased = gzip.decompress(dump.read_bytes()).decode().replace('"alice",null]', "null,7]")
    account = '[9,"imported:3d4cbbe4-2b4c-5d2e-8c0f-7c1c0d3f6a11","bob",null]\n'
    header = '{"table":"usage_person","columns":["id","account","name","erased_at"]}\n'
    assert header in erased
    rows = erased.replace(header, header + account).splitlines(keepends=True)
    end = json.loads(rows[-1])
    rows[-1] = json.dumps(end | {"rows": end["rows"] + 1})
    old.write_bytes(gzip.compress("".join(rows).encode()))
    restore(ledger.database, old)
    people = {row.id: row for row in ledger.all(Person)}
    assert {row.erased_at for number, row in people.items() if number != 9} == {7}
    first = dump.stem == "0001"
    assert (people[9].account in account) is not first
    assert {bytes(row.sha256) == ERASED for row in ledger.all(ImportedRow)} == {first}


def test_a_failed_migration_leaves_what_was_there(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ledger)
    before = ledger.days()
    version = _version(ledger.database)
    upgrade: Callable[[Session, str], None] = migrate.upgrade

    def broken(session: Session, revision: str) -> None:
        upgrade(session, revision)
        session.execute(text("ALTER TABLE usage_day ADD COLUMN colour INTEGER"))
        session.execute(text("DROP TABLE usage_segment"))
        session.execute(text("UPDATE usage_nowhere SET colour = 1"))

    monkeypatch.setattr(migrate, "upgrade", broken)
    with pytest.raises(DatabaseError):
        migrate.migrate(ledger.database)
    monkeypatch.undo()
    migrate.migrate(ledger.database)
    assert (_version(ledger.database), ledger.days()) == (version, before)
    assert verify(ledger.database).findings == []


if __name__ == "__main__":
    target = Path(sys.argv[1])
    made = Database.open(f"sqlite:///{target}.sqlite")
    fill(Ledger(made))
    backup(made, target)
    made.close()
