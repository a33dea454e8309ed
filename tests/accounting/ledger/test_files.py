"""Backups and exports: a round trip over both databases, and formats that agree with the ledger."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from arcetri_accounting.ledger import exporting, importing
from arcetri_accounting.ledger.backup import backup, restore
from arcetri_accounting.ledger.corrections import Correction, correct
from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.errors import Refused
from arcetri_accounting.ledger.tables import Base, Person
from arcetri_accounting.ledger.verify import verify
from tests.accounting.ledger.builders import (
    T0,
    allocation,
    batch,
    catalog,
    ended,
    seen,
    segment,
    started,
)
from tests.accounting.ledger.harness import Ledger
from tests.accounting.ledger.test_importing import GOOD, HEADER, lines
from tests.support.postgres import PostgresServer

HOUR = 3_600_000


def fill(ledger: Ledger) -> None:
    """Something of everything."""
    slice_ = allocation("s2", "MIG-1", share="1/7", flavor="a100-1g")
    fpga = allocation("s3", "V70-1", flavor="v70", flavor_type="fpga")
    fake = allocation("s4", "SIM-1", simulated=True)
    cpu = allocation("s5", "", flavor="cpu", flavor_type="cpu")
    part = {"util_ms": 299_999, "used_u": 1440 * 150_000, "unobserved_ms": 1, "occupied_ms": 5}
    records = [
        segment(1, slice_, T0, 300_000, **part, energy_mj=7, energy_method="split", mem_peak=9),
        segment(2, fpga, T0, 1_234_567),
        segment(3, fake, T0),
        segment(4, cpu, T0),
        {"type": "presence", "seq": 5, "device": "x", "weight": 1, "t0": T0, "dur_ms": 9, "b0": 0},
        {"type": "gap", "seq": 6, "code": "clock", "t0": T0, "t1": T0, "detail": "\u00e9\u4e2d"},
        {"seq": 8, "type": "broken"},
    ]
    tail = {name: value for name, value in segment(1, slice_, T0).items() if name[0] not in "s"}
    tail.pop("type")
    ledger.see(seen(catalog(1), started(2), ended(3, at=T0 + HOUR), started(4, "s9")))
    ledger.take(batch(records, slice_, fpga, fake, cpu, open=[tail]))
    ledger.reconcile(T0 + 2 * HOUR)
    importing.load(ledger.database, lines(HEADER + GOOD), site="old", kind="batch")
    wanted = Correction("s1", None, T0, T0 + 1000, -1, "op", "why")
    correct(ledger.database, wanted, 1)


def content(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    found = {}
    with database.engine.connect() as connection:
        for table in Base.metadata.sorted_tables:
            rows = connection.execute(table.select()).all()
            found[table.name] = sorted((tuple(row) for row in rows), key=repr)
    return found


@pytest.fixture
def others(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[list[Database]]:
    """Empty databases of both kinds."""
    urls = [f"sqlite:///{tmp_path}/other.sqlite", postgres_server.new_database()]
    found = [Database.open(url) for url in urls]
    yield found
    for database in found:
        database.close()


@pytest.mark.component
def test_a_backup_is_restored_as_it_was_into_either_database(
    ledger: Ledger, others: list[Database], tmp_path: Path
) -> None:
    fill(ledger)
    before = content(ledger.database)
    assert [name for name in before if not before[name]] == [
        "usage_discrepancy",
        "usage_compacted",
        "usage_month",
    ]
    target = tmp_path / "ledger.backup"
    count = backup(ledger.database, target)
    assert count == sum(map(len, before.values()))
    assert target.stat().st_mode & 0o077 == 0
    for other in others:
        assert restore(other, target) == count
        assert content(other) == before
        assert verify(other).findings == []
        # It goes on where it was.
        again = Ledger(other)
        new = allocation("new")
        assert again.take(batch([segment(7, new, T0)], new)).acknowledged == 8
        with pytest.raises(Refused) as caught:
            restore(other, target)
        assert caught.value.code == "restore_over_data"


def test_a_backup_that_is_not_whole_changes_nothing(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger)
    target = tmp_path / "ledger.backup"
    backup(ledger.database, target)
    with pytest.raises(Refused):
        backup(ledger.database, target)
    text = gzip.decompress(target.read_bytes())
    packed = target.read_bytes()
    rows = text.splitlines(keepends=True)
    broken = {
        "cut": packed[: len(packed) // 2],
        "no end": gzip.compress(b"".join(rows[:-1])),
        "a row less": gzip.compress(b"".join(rows[:5] + rows[6:])),
        "not json": gzip.compress(b"".join([*rows[:5], b"{", *rows[5:]])),
        "other": gzip.compress(b'{"format": "other"}\n'),
        "newer": gzip.compress(rows[0].replace(b'"version":1', b'"version":2')),
        "plain": text,
        "empty": b"",
    }
    other = Database.open(f"sqlite:///{tmp_path}/other.sqlite")
    for name, data in broken.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(Refused) as caught:
            restore(other, path)
        assert caught.value.code == "backup_broken", name
        assert not any(content(other).values()), name
    restore(other, target)
    other.close()


def _months(ledger: Ledger, **options: Any) -> list[exporting.Month]:
    values = {"simulated": False} | options
    first, last = date(2026, 2, 11), date(2026, 4, 1)
    return ledger.database.read(lambda db: list(exporting.months(db, first, last, **values)))


def test_exports_agree_with_the_ledger_to_a_second(ledger: Ledger) -> None:
    fill(ledger)
    over_month = GOOD.replace("j1", "j2").replace("2026-03-29T04", "2026-04-02T04:13")
    importing.load(
        ledger.database, lines(HEADER + over_month[:-2] + ",0.3"), site="old", kind="batch"
    )
    months = _months(ledger)
    text = "".join(exporting.egi(iter(months), names=False))
    egi = json.loads(text)["UsageRecords"]
    auditor = [json.loads(line) for line in exporting.auditor(iter(months), names=False)]
    assert len(egi) == len(auditor) == len(months) == 6
    assert len({one["record_id"] for one in auditor}) == 6
    for month, one, other in zip(months, egi, auditor, strict=True):
        share = month.allocation.share_u
        allocated = share * month.dur_ms
        assert abs(one["Count"] * one["AvailableDuration"] * 10_080_000 - allocated) <= (
            share * 1000
        )
        assert one["Type"] in ("GPU", "FPGA")
        assert set(one) == {
            *("MeasurementMonth", "MeasurementYear", "AssociatedRecordType", "AssociatedRecord"),
            *("GlobalUserName", "FQAN", "SiteName", "Count", "Cores", "AvailableDuration"),
            *("ActiveDuration", "BenchmarkType", "Benchmark", "Type", "Model"),
        }
        assert (one["ActiveDuration"] is None) == (month.util_u == 0)
        if one["ActiveDuration"] is not None:
            assert abs(one["ActiveDuration"] * share * 1000 - month.used_u) <= share * 500
        device = other["components"][0]
        weight = device["amount"] * device["scores"][0]["value"]
        assert abs(weight * 10_080 - share) < 1e-6
        assert isinstance(device["amount"], int)
    by_month = {(one["AssociatedRecord"], one["MeasurementMonth"]) for one in egi}
    assert {("j2", 3), ("j2", 4)} <= by_month
    assert "alice" not in text.replace("a-alice", "")
    assert "SIM" not in text


def test_times_have_one_spelling(ledger: Ledger) -> None:
    fill(ledger)
    form = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
    for one in map(json.loads, exporting.auditor(iter(_months(ledger)), names=False)):
        assert form.fullmatch(one["start_time"])
        assert form.fullmatch(one["stop_time"])
        assert one["start_time"] < one["stop_time"]


def test_simulated_usage_is_exported_apart(ledger: Ledger) -> None:
    fill(ledger)
    assert [one.allocation.device for one in _months(ledger, simulated=True)] == ["SIM-1"]


def test_names_are_exported_only_where_it_is_asked_for(ledger: Ledger) -> None:
    fill(ledger)
    assert ledger.count(Person) > 0
    named = [json.loads(line) for line in exporting.auditor(iter(_months(ledger)), names=True)]
    assert ["alice"] in [one["meta"]["user"] for one in named]
