"""Whether the ledger still adds up: roll-ups made anew from what they sum, and the invariants.

The raw truth of usage is: of agents, the segments, and where these were compacted, their sums by
day; closed from the witness, the reconciled spans; imported or generated, the records; and all
corrections. Where quarter hours are no longer kept, it is compared with the months that stand for
them. It runs on one state of the database, while others write.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from arcetri_accounting.contract.units import QUARTER_MS
from arcetri_accounting.ledger import corrections, rollups
from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.months import LOST_SETTING, begin_of, month_of, name_of
from arcetri_accounting.ledger.registry import setting
from arcetri_accounting.ledger.retention import QUARTERS_A_DAY, QUARTERS_SETTING
from arcetri_accounting.ledger.rollups import SUMS, Piece, local_day, site_zone
from arcetri_accounting.ledger.tables import (
    AllocationRow,
    CompactedRow,
    CorrectionRow,
    DayRow,
    ImportedRow,
    MonthRow,
    QuarterRow,
    ReconciledRow,
    SegmentRow,
    Stream,
)
from arcetri_accounting.ledger.times import said

MAX_FINDINGS: Final = 200
_CHUNK: Final = 2000
_Amounts = list[int]
_NAMES: Final = ("dur_ms", *SUMS)
_NOTHING: Final = [0] * len(_NAMES)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not add up."""

    code: str
    """``quarter``, ``month``, ``day``, ``impossible``, ``overlap``."""
    where: str
    what: str


@dataclass(slots=True)
class Verified:
    """What was looked at, and what was found."""

    allocations: int = 0
    quarters: int = 0
    months: int = 0
    """Of single allocations, whose quarter hours are no longer kept."""
    days: int = 0
    unchecked: int = 0
    """Quarter hours whose raw data was dropped: nothing is left to compare them with."""
    unchecked_months: int = 0
    """Months of single allocations of which the same holds."""
    findings: list[Finding] = field(default_factory=list)
    more: int = 0

    def add(self, code: str, where: str, what: str) -> None:
        """Note a finding."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(code, where, what))
        else:
            self.more += 1


def verify(database: Database) -> Verified:
    """Look at everything."""
    return database.read(_verify)


def _verify(session: Session) -> Verified:
    result = Verified()
    kept = _Kept(
        site_zone(session),
        int(setting(session, QUARTERS_SETTING) or 0),
        int(setting(session, LOST_SETTING) or 0),
    )
    days: dict[tuple[int, int], _Amounts] = {}
    last = session.scalar(select(func.max(AllocationRow.id))) or 0
    for start in range(0, last + 1, _CHUNK):
        _some(session, start, start + _CHUNK, kept, days, result)
    _days(session, days, kept, result)
    _overlaps(session, result)
    return result


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is kept of what came before."""

    zone: str
    quarters_from: int
    """Quarter hours from this number on; those before are in their months."""
    months_from: int
    """No month has what was before this quarter hour."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """Roll-ups of some allocations, and what they sum."""

    allocations: dict[int, AllocationRow]
    quarters: dict[tuple[int, int], _Amounts]
    months: dict[tuple[int, int], _Amounts]
    raw: dict[tuple[int, int], _Amounts]
    """By quarter hour, weighted."""
    compacted: dict[tuple[int, int], _Amounts]
    """By day of UTC, weighted; what is in it is not in ``raw``."""


def _some(
    session: Session,
    start: int,
    end: int,
    kept: _Kept,
    days: dict[tuple[int, int], _Amounts],
    result: Verified,
) -> None:
    rows = session.scalars(
        select(AllocationRow).where(AllocationRow.id >= start, AllocationRow.id < end)
    )
    allocations = {row.id: row for row in rows}
    result.allocations += len(allocations)
    raw = _raw(session, start, end)
    compacted = _compacted(session, start, end)
    stored = _Stored(
        allocations,
        _rolled_up(session, QuarterRow, QuarterRow.quarter, start, end),
        _rolled_up(session, MonthRow, MonthRow.month, start, end),
        {key: _weighted(allocations[key[0]], amounts) for key, amounts in raw.items()},
        {key: _weighted(allocations[key[0]], amounts) for key, amounts in compacted.items()},
    )
    result.quarters += len(stored.quarters)
    result.months += len(stored.months)
    for (allocation, quarter), amounts in stored.quarters.items():
        one = allocations[allocation]
        _possible(one, f"from {said(quarter * QUARTER_MS)}", amounts, QUARTER_MS, result)
        _add(days, (local_day(kept.zone, quarter), one.dimensions_id), amounts[1:])
    for (allocation, month), amounts in stored.months.items():
        longest = (begin_of(month + 1) - begin_of(month)) * QUARTER_MS
        _possible(allocations[allocation], f"in {name_of(month)} UTC", amounts, longest, result)
    _compare(stored, kept, result)
    _compare_months(stored, kept, result)


def _rolled_up(
    session: Session, row: type[QuarterRow] | type[MonthRow], number: Any, start: int, end: int
) -> dict[tuple[int, int], _Amounts]:
    columns = [getattr(row, name) for name in _NAMES]
    found = session.execute(
        select(row.allocation_id, number, *columns).where(
            row.allocation_id >= start, row.allocation_id < end
        )
    )
    return {(allocation, at): amounts for allocation, at, *amounts in found}


def _compare(stored: _Stored, kept: _Kept, result: Verified) -> None:
    by_day: dict[tuple[int, int], list[_Amounts]] = {}
    for key in sorted(stored.quarters.keys() | stored.raw.keys()):
        allocation, quarter = key
        have, want = stored.quarters.get(key, _NOTHING), stored.raw.get(key, _NOTHING)
        day = (allocation, quarter // QUARTERS_A_DAY)
        pruned = stored.allocations[allocation].pruned_before
        if quarter < kept.quarters_from:
            continue
        if day in stored.compacted:
            pair = by_day.setdefault(day, [list(_NOTHING), list(_NOTHING)])
            for place in range(len(_NAMES)):
                pair[0][place] += have[place]
                pair[1][place] += want[place]
        elif pruned is not None and quarter * QUARTER_MS < pruned:
            result.unchecked += 1
        elif have != want:
            where = f"{_name(stored.allocations[allocation])}, from {said(quarter * QUARTER_MS)}"
            result.add("quarter", where, _difference(have, want))
    for day, whole in sorted(stored.compacted.items()):
        if day[1] * QUARTERS_A_DAY < kept.quarters_from:
            continue
        have, want = by_day.get(day, [_NOTHING, _NOTHING])
        total = [one + other for one, other in zip(want, whole, strict=True)]
        if have != total:
            name = _name(stored.allocations[day[0]])
            where = f"{name}, on {date.fromordinal(719_163 + day[1])} UTC"
            result.add("quarter", where, _difference(have, total))


def _compare_months(stored: _Stored, kept: _Kept, result: Verified) -> None:
    """Compare whole months of which not all quarter hours are kept."""
    have: dict[tuple[int, int], _Amounts] = {}
    want: dict[tuple[int, int], _Amounts] = {}
    for key, amounts in stored.months.items():
        _add(have, key, amounts)
    for (allocation, quarter), amounts in stored.quarters.items():
        _add(have, (allocation, month_of(quarter)), amounts)
    for (allocation, quarter), amounts in stored.raw.items():
        _add(want, (allocation, month_of(quarter)), amounts)
    compacted = set()
    for (allocation, day), amounts in stored.compacted.items():
        key = (allocation, month_of(day * QUARTERS_A_DAY))
        compacted.add(key)
        _add(want, key, amounts)
    for key in sorted(have.keys() | want.keys()):
        allocation, month = key
        begin = begin_of(month)
        if begin >= kept.quarters_from:
            continue
        pruned = stored.allocations[allocation].pruned_before
        dropped = pruned is not None and begin * QUARTER_MS < pruned and key not in compacted
        one, other = have.get(key, _NOTHING), want.get(key, _NOTHING)
        if begin < kept.months_from or dropped:
            result.unchecked_months += 1
        elif one != other:
            where = f"{_name(stored.allocations[allocation])}, in {name_of(month)} UTC"
            result.add("month", where, _difference(one, other))


def _raw(session: Session, start: int, end: int) -> dict[tuple[int, int], _Amounts]:
    """dur_ms, util_ms, used_u, occupied_ms, unobserved_ms, energy_mj by allocation and quarter."""
    sums: dict[tuple[int, int], _Amounts] = {}
    ours = (SegmentRow.allocation_id >= start, SegmentRow.allocation_id < end)
    quarter = SegmentRow.t0.op("/")(QUARTER_MS)
    inside = SegmentRow.t0 % QUARTER_MS + SegmentRow.dur_ms <= QUARTER_MS
    columns = [
        func.coalesce(func.sum(getattr(SegmentRow, name)), 0)
        for name in (*("dur_ms", "util_ms", "used_u", "occupied_ms", "unobserved_ms"), "energy_mj")
    ]
    grouped = (
        select(SegmentRow.allocation_id, quarter, *columns)
        .where(*ours, inside)
        .group_by(SegmentRow.allocation_id, quarter)
    )
    for allocation, number, *amounts in session.execute(grouped):
        sums[allocation, int(number)] = [int(amount) for amount in amounts]
    for key, amounts in rollups.by_quarter(_pieces(session, start, end, ours, ~inside)).items():
        _add(sums, key, amounts[:6])
    return sums


def _pieces(session: Session, start: int, end: int, ours: Any, across: Any) -> Iterator[Piece]:
    segments = select(
        *(SegmentRow.allocation_id, SegmentRow.t0, SegmentRow.dur_ms, SegmentRow.util_ms),
        *(SegmentRow.used_u, SegmentRow.occupied_ms, SegmentRow.unobserved_ms),
        SegmentRow.energy_mj,
    )
    for row in session.execute(segments.where(*ours, across)):
        yield Piece(*(value or 0 for value in row))
    imported = select(
        *(ImportedRow.allocation_id, ImportedRow.t0, ImportedRow.dur_ms, ImportedRow.util_ms),
        *(ImportedRow.used_u, ImportedRow.occupied_ms, ImportedRow.unobserved_ms),
        ImportedRow.energy_mj,
    )
    some = (ImportedRow.allocation_id >= start, ImportedRow.allocation_id < end)
    for row in session.execute(imported.where(*some)):
        yield Piece(*row)
    closed = select(ReconciledRow.allocation_id, ReconciledRow.t0, ReconciledRow.dur_ms)
    those = (ReconciledRow.allocation_id >= start, ReconciledRow.allocation_id < end)
    for allocation, t0, dur_ms in session.execute(closed.where(*those)):
        yield Piece(allocation, t0, dur_ms, unobserved_ms=dur_ms)
    made = (CorrectionRow.allocation_id >= start, CorrectionRow.allocation_id < end)
    for one in session.scalars(select(CorrectionRow).where(*made)):
        yield from corrections.as_pieces(one.allocation_id, one.sign, one.pieces)


def _compacted(session: Session, start: int, end: int) -> dict[tuple[int, int], _Amounts]:
    columns = (
        *(CompactedRow.dur_ms, CompactedRow.util_ms, CompactedRow.used_u),
        *(CompactedRow.occupied_ms, CompactedRow.unobserved_ms, CompactedRow.energy_mj),
    )
    rows = session.execute(
        select(CompactedRow.allocation_id, CompactedRow.day, *columns).where(
            CompactedRow.allocation_id >= start, CompactedRow.allocation_id < end
        )
    )
    return {(allocation, day): list(amounts) for allocation, day, *amounts in rows}


def _weighted(allocation: AllocationRow, amounts: _Amounts) -> _Amounts:
    dur, util, used, occupied, unobserved, energy = amounts
    share = allocation.share_u
    return [
        *(dur, share * dur, used, share * util, share * occupied, share * unobserved),
        *(allocation.millicores * dur, energy),
    ]


def _possible(
    allocation: AllocationRow, when: str, amounts: _Amounts, longest: int, result: Verified
) -> None:
    dur, alloc, used, util, occupied, unobserved, _, _ = amounts
    wrong = []
    if min(amounts) < 0:
        wrong.append("an amount is negative")
    if not used <= util <= alloc:
        wrong.append(f"used {used} <= measured {util} <= allocated {alloc} does not hold")
    if max(occupied, util) + unobserved > alloc:
        wrong.append("what was occupied or measured, and unobserved, is more than allocated")
    if allocation.device and dur > longest:
        wrong.append(f"it lasts {dur} ms")
    for what in wrong:
        result.add("impossible", f"{_name(allocation)}, {when}", what)


def _days(
    session: Session,
    days: dict[tuple[int, int], _Amounts],
    kept: _Kept,
    result: Verified,
) -> None:
    kept_from = kept.quarters_from
    columns = [getattr(DayRow, name) for name in SUMS]
    stored = {
        (day, dimensions): amounts
        for day, dimensions, *amounts in session.execute(
            select(DayRow.day, DayRow.dimensions_id, *columns)
        )
    }
    result.days = len(stored)
    first = local_day(kept.zone, kept_from) if kept_from else 0
    whole = first if kept_from and local_day(kept.zone, kept_from - 1) != first else first + 1
    nothing = [0] * len(SUMS)
    for key in sorted(stored.keys() | days.keys()):
        if kept_from and key[0] < whole:
            continue
        have, want = stored.get(key, nothing), days.get(key, nothing)
        if have != want:
            where = f"{date.fromordinal(key[0])}, dimensions {key[1]}"
            result.add("day", where, _difference([0, *have], [0, *want]))


def _overlaps(session: Session, result: Verified) -> None:
    """A device, unless it is shared, is held by one session at a time: by the clock since boot."""
    end = SegmentRow.b0 + SegmentRow.dur_ms
    before = func.max(end).over(
        partition_by=(Stream.node, Stream.boot, AllocationRow.device, AllocationRow.generation),
        order_by=(SegmentRow.b0, end),
        rows=(None, -1),
    )
    inner = (
        select(SegmentRow.stream_id, SegmentRow.seq, SegmentRow.b0, SegmentRow.t0)
        .add_columns(SegmentRow.dur_ms, before.label("before"), AllocationRow.id.label("owner"))
        .join(Stream, Stream.id == SegmentRow.stream_id)
        .join(AllocationRow, AllocationRow.id == SegmentRow.allocation_id)
        .where(AllocationRow.device != "", AllocationRow.shared.is_(False), SegmentRow.dur_ms > 0)
        .subquery()
    )
    found = select(inner).where(inner.c.before > inner.c.b0).order_by(inner.c.t0)
    for row in session.execute(found):
        allocation = session.get_one(AllocationRow, row.owner)
        where = f"{_name(allocation)}, from {said(row.t0)}"
        over = min(row.before - row.b0, row.dur_ms)
        result.add("overlap", where, f"{over} ms of it are counted before")


def _name(allocation: AllocationRow) -> str:
    device = f" on {allocation.device}" if allocation.device else ""
    return f"session {allocation.session}{device}"


def _difference(have: _Amounts, want: _Amounts) -> str:
    said_ = [
        f"{name} is {one}, and its parts add up to {other}"
        for name, one, other in zip(_NAMES, have, want, strict=True)
        if one != other
    ]
    return "; ".join(said_)


def _add(sums: dict[Any, _Amounts], key: Any, amounts: _Amounts) -> None:
    sum_ = sums.setdefault(key, [0] * len(amounts))
    for place, amount in enumerate(amounts):
        sum_[place] += amount
