"""The ledger without HTTP, and what it says."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import func, select

from arcetri_accounting.contract.usage import Acknowledgement
from arcetri_accounting.ledger import delivery, ingest, reconcile, rollups, witness
from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.tables import (
    AllocationRow,
    DayRow,
    Dimensions,
    Person,
    QuarterRow,
)

QUARTER_SUMS = ("dur_ms", *rollups.SUMS)


class Ledger:
    """A ledger's database, and what agents and the spawner do with it."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def take(self, body: dict[str, Any], now: int = 0) -> Acknowledgement:
        """Store an agent's batch."""
        return self.stored(body, now).acknowledgement

    def stored(self, body: dict[str, Any], now: int = 0) -> ingest.Stored:
        """Store an agent's batch, and say all that became of it."""
        delivered = delivery.read(json.dumps(body).encode())
        now = now or body["sent_at"]
        return self.database.write(lambda db: ingest.store(db, delivered, None, now))

    def see(self, body: dict[str, Any], now: int = 1) -> Acknowledgement:
        """Store a witness's batch."""
        return witness.store(self.database, witness.read(json.dumps(body).encode()), now)

    def reconcile(self, now: int, after_ms: int = 900_000) -> reconcile.Outcome:
        return reconcile.run(self.database, now, after_ms)

    def quarters(self) -> dict[tuple[str, str, str, int], tuple[int, ...]]:
        """Sums of quarter hours by session, device and provenance, without those of nothing."""
        columns = (AllocationRow.session, AllocationRow.device, Dimensions.provenance)
        sums = [getattr(QuarterRow, name) for name in QUARTER_SUMS]
        statement = (
            select(*columns, QuarterRow.quarter, *(func.sum(one) for one in sums))
            .join(AllocationRow, AllocationRow.id == QuarterRow.allocation_id)
            .join(Dimensions, Dimensions.id == AllocationRow.dimensions_id)
            .group_by(*columns, QuarterRow.quarter)
        )
        rows = self.database.read(lambda db: db.execute(statement).all())
        return {tuple(row[:4]): tuple(map(int, row[4:])) for row in rows if any(row[4:])}

    def days(self) -> dict[tuple[int, str, str, str, str], tuple[int, ...]]:
        """Sums of days by account, group, flavour and provenance, without those of nothing."""
        columns = (
            *(DayRow.day, Person.account, Dimensions.group, Dimensions.flavor),
            Dimensions.provenance,
        )
        sums = [getattr(DayRow, name) for name in rollups.SUMS]
        statement = (
            select(*columns, *sums)
            .join(Dimensions, Dimensions.id == DayRow.dimensions_id)
            .join(Person, Person.id == Dimensions.person_id)
        )
        rows = self.database.read(lambda db: db.execute(statement).all())
        return {tuple(row[:5]): tuple(map(int, row[5:])) for row in rows if any(row[5:])}

    def count(self, row: type[Any]) -> int:
        return self.database.read(lambda db: db.scalar(select(func.count()).select_from(row))) or 0

    def all(self, row: type[Any]) -> list[Any]:
        return list(self.database.read(lambda db: db.scalars(select(row)).all()))
