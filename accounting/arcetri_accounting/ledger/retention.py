"""Letting go of what is no longer needed, a bounded amount at a time, without changing a total.

Raw segments whose sessions are over and reconciled are added up by allocation and UTC day, or only
dropped; roll-ups by quarter hour are dropped when days stand for them, and added up by allocation
and month for what days do not tell; a person's name is erased while their usage stays under a
number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, exists, func, or_, select, tuple_, update
from sqlalchemy.orm import Session

from arcetri_accounting import killpoints
from arcetri_accounting.contract.units import QUARTER_MS
from arcetri_accounting.ledger import months, rollups
from arcetri_accounting.ledger.bulk import upsert
from arcetri_accounting.ledger.database import Database, hold
from arcetri_accounting.ledger.errors import Refused
from arcetri_accounting.ledger.rollups import Piece, local_day, site_zone
from arcetri_accounting.ledger.settings import Retention
from arcetri_accounting.ledger.tables import (
    ERASED,
    AllocationRow,
    Base,
    CompactedRow,
    Dimensions,
    ImportedRow,
    Person,
    QuarantineRow,
    QuarterRow,
    SegmentRow,
    SettingRow,
    Stream,
    WitnessRow,
)

DAY_MS: Final = 86_400_000
QUARTERS_A_DAY: Final = DAY_MS // QUARTER_MS
QUARTERS_SETTING: Final = "quarters_kept_from"
"""Roll-ups of quarter hours before this number were dropped."""
_AT_ONCE: Final = 5000
_CHUNK: Final = 400


@dataclass(slots=True)
class Pruned:
    """What was let go."""

    segments: int = 0
    quarters: int = 0
    quarantined: int = 0
    allocations: set[int] = field(default_factory=set)


def prune(database: Database, retention: Retention, now: int) -> Pruned:
    """Let go of all that is older than its retention.

    Args:
        database: The ledger's.
        retention: How long each kind of data is kept.
        now: Milliseconds since 1970.
    """
    pruned = Pruned()
    if retention.raw != "keep":
        cutoff = (now // DAY_MS - retention.raw_days) * DAY_MS
        _segments(database, cutoff, retention.raw == "compact", pruned)
    _quarters(database, now - retention.quarter_years * 366 * DAY_MS, pruned)
    before = now - retention.quarantine_days * DAY_MS
    pruned.quarantined = _in_batches(database, QuarantineRow, QuarantineRow.received_at < before)
    return pruned


def _segments(database: Database, cutoff: int, compact: bool, pruned: Pruned) -> None:
    for node in database.read(lambda session: _nodes(session, cutoff)):
        after = 0
        while True:

            def work(session: Session, node: str = node, after: int = after) -> tuple[int, int]:
                return _some_segments(session, node, cutoff, after, compact, pruned)

            segments, after = database.write(work)
            pruned.segments += segments
            if not after:
                break


def _ripe(cutoff: int) -> list[Any]:
    """Allocations of sessions that are over and settled, with segments from before the cutoff."""
    unsettled = exists().where(
        WitnessRow.session == AllocationRow.session, WitnessRow.reconciled_at.is_(None)
    )
    kept = or_(AllocationRow.pruned_before.is_(None), AllocationRow.pruned_before < cutoff)
    has = exists().where(SegmentRow.allocation_id == AllocationRow.id)
    return [AllocationRow.first < cutoff, AllocationRow.last < cutoff, kept, ~unsettled, has]


def _nodes(session: Session, cutoff: int) -> list[str]:
    return list(
        session.scalars(
            select(AllocationRow.node).where(*_ripe(cutoff)).distinct().order_by("node")
        )
    )


def _some_segments(
    session: Session, node: str, cutoff: int, after: int, compact: bool, pruned: Pruned
) -> tuple[int, int]:
    """Prune some of a node's allocations; return how many segments, and where to go on, or 0."""
    hold(session, f"node:{node}")
    wanted = (
        select(AllocationRow.id)
        .where(AllocationRow.node == node, AllocationRow.id > after, *_ripe(cutoff))
        .order_by(AllocationRow.id)
        .limit(_CHUNK)
    )
    count = 0
    for allocation in session.scalars(wanted).all():
        if count >= _AT_ONCE:
            return count, after
        count += _one(session, allocation, cutoff, compact)
        pruned.allocations.add(allocation)
        after = allocation
    killpoints.reach("prune.deleted")
    return count, after if count else 0


def _one(session: Session, allocation: int, cutoff: int, compact: bool) -> int:
    ours = (SegmentRow.allocation_id == allocation, SegmentRow.t0 + SegmentRow.dur_ms <= cutoff)
    if compact:
        _compact(session, allocation, ours)
    else:
        session.execute(delete(CompactedRow).where(CompactedRow.allocation_id == allocation))
    killpoints.reach("prune.compacted")
    gone = session.execute(delete(SegmentRow).where(*ours))
    session.execute(
        update(AllocationRow).where(AllocationRow.id == allocation).values(pruned_before=cutoff)
    )
    return int(getattr(gone, "rowcount", 0))


def _compact(session: Session, allocation: int, ours: tuple[ColumnElement[bool], ...]) -> None:
    """Add segments up by UTC day, with what was added up before."""
    days: dict[int, list[int]] = {}
    spans: dict[int, list[_Span]] = {}
    before = select(CompactedRow).where(CompactedRow.allocation_id == allocation)
    for row in session.scalars(before):
        days[row.day] = [getattr(row, name) for name in _SUMS]
        spans[row.day] = [(boot, begin, end, t0) for boot, begin, end, t0 in row.covered]
    found = session.execute(
        select(SegmentRow.t0, SegmentRow.dur_ms, SegmentRow.util_ms, SegmentRow.used_u)
        .add_columns(SegmentRow.occupied_ms, SegmentRow.unobserved_ms, SegmentRow.energy_mj)
        .add_columns(SegmentRow.b0, Stream.boot)
        .join(Stream, Stream.id == SegmentRow.stream_id)
        .where(*ours)
    )
    for t0, dur_ms, util, used, occupied, unobserved, energy, b0, boot in found:
        piece = Piece(allocation, t0, dur_ms, util, used or 0, occupied, unobserved, energy or 0)
        begins = t0 // DAY_MS
        days.setdefault(begins, [0] * len(_SUMS))[0] += 1
        spans.setdefault(begins, []).append((boot, b0, b0 + dur_ms, t0))
        for quarter, part in rollups.split(piece):
            sum_ = days.setdefault(quarter // QUARTERS_A_DAY, [0] * len(_SUMS))
            for place, amount in enumerate(part[2:8], 1):
                sum_[place] += amount
    upsert(
        session,
        CompactedRow.metadata.tables[CompactedRow.__tablename__],
        ("allocation_id", "day", *_SUMS, "covered"),
        [(allocation, day, *days[day], _merged(spans.get(day, []))) for day in sorted(days)],
        lambda insert: insert.on_conflict_do_update(
            index_elements=["allocation_id", "day"],
            set_={name: insert.excluded[name] for name in (*_SUMS, "covered")},
        ),
    )


def _merged(spans: list[_Span]) -> list[list[str | int]]:
    """Join spans that follow each other on both clocks."""
    found: list[list[Any]] = []
    for boot, begin, end, t0 in sorted(spans):
        last = found[-1] if found else None
        if last and last[0] == boot and begin <= last[2] and t0 - begin == last[3] - last[1]:
            last[2] = max(last[2], end)
        else:
            found.append([boot, begin, end, t0])
    return found


_Span = tuple[str, int, int, int]
_SUMS: Final = (
    *("segments", "dur_ms", "util_ms", "used_u", "occupied_ms", "unobserved_ms", "energy_mj"),
)


def _quarters(database: Database, before: int, pruned: Pruned) -> None:
    """Drop roll-ups of whole local days, and note from where they are kept before any is gone."""

    def decide(session: Session) -> int:
        kept = session.scalar(select(SettingRow.value).where(SettingRow.name == QUARTERS_SETTING))
        old = int(kept or 0)
        oldest = session.scalar(select(func.min(QuarterRow.quarter)))
        if oldest is None or oldest * QUARTER_MS >= before:
            return old
        zone = site_zone(session)
        quarter = before // QUARTER_MS
        day = local_day(zone, quarter)
        while local_day(zone, quarter - 1) == day:
            quarter -= 1
        new = max(old, quarter)
        upsert(
            session,
            SettingRow.metadata.tables[SettingRow.__tablename__],
            ("name", "value"),
            [(QUARTERS_SETTING, str(new))],
            lambda insert: insert.on_conflict_do_update(
                index_elements=["name"], set_={"value": insert.excluded.value}
            ),
        )
        return new

    kept_from = database.write(decide, alone=True)
    if kept_from:
        while count := database.write(lambda s: months.drop_quarters(s, kept_from, _CHUNK)):
            pruned.quarters += count


def _in_batches(database: Database, row: type[Base], condition: ColumnElement[bool]) -> int:
    """Delete a table's rows some at a time; return how many."""
    keys = list(row.metadata.tables[row.__tablename__].primary_key.columns)

    def work(session: Session) -> int:
        some = session.execute(select(*keys).where(condition).limit(_CHUNK)).all()
        if some:
            session.execute(delete(row).where(tuple_(*keys).in_([tuple(one) for one in some])))
        return len(some)

    total = 0
    while count := database.write(work):
        total += count
    return total


def erase(database: Database, name: str, now: int) -> int:
    """Forget a person's name, for good; their usage stays, under the person's number.

    Nothing that is kept can be made from the name. The hub knows a person by an id, so the name
    does not come back with later sessions; a file of past records knows only names, so a record in
    it that is not yet here makes a new person. Records that are here already are not loaded again.

    Args:
        database: The ledger's.
        name: The account's name, or its opaque id.
        now: Milliseconds since 1970.

    Returns:
        The person's number, which reports show instead.

    Raises:
        Refused: There is no such person, or several.
    """

    def work(session: Session) -> int:
        found = session.scalars(
            select(Person).where(or_(Person.name == name, Person.account == name))
        ).all()
        if len(found) != 1:
            raise Refused(
                f"There is no person {name} in the ledger."
                if not found
                else f"Several persons are called {name}: "
                + ", ".join(sorted(one.account for one in found))
                + ".",
                code="person_unknown" if not found else "person_ambiguous",
                remedy="Give the account's name, or its opaque id, as reports show it.",
            )
        person = found[0]
        session.execute(
            update(Person).where(Person.id == person.id).values(name=None, erased_at=now)
        )
        theirs = (
            select(AllocationRow.id)
            .join(Dimensions, Dimensions.id == AllocationRow.dimensions_id)
            .where(Dimensions.person_id == person.id)
        )
        records = update(ImportedRow).where(ImportedRow.allocation_id.in_(theirs))
        session.execute(records.values(sha256=ERASED))
        return person.id

    return database.write(work)
