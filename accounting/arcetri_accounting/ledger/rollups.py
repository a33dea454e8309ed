"""The one place that changes roll-ups: signed pieces of usage, by quarter hour and by day.

Everything that counts comes through ``apply``: what agents send, what is closed from the witness
and withdrawn again, corrections, imports and generated history. It is called in the transaction
that stores what the pieces stand for. Its rows are written in the order of their keys and last in
that transaction, days after quarters, so that writers side by side never wait in a circle and wait
for each other only while they commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import Table, case, select
from sqlalchemy.orm import Session

from arcetri_accounting.contract.units import QUARTER_MS, apportion, quarters
from arcetri_accounting.ledger.bulk import upsert
from arcetri_accounting.ledger.tables import AllocationRow, DayRow, QuarterRow, SettingRow

ZONE_SETTING: Final = "timezone"
DEFAULT_ZONE: Final = "UTC"
_LOOKUP: Final = 500
_KNOWN_ZONE: Final = "arcetri_zone"


class Piece(NamedTuple):
    """A span of one allocation's usage, which need not lie within one quarter hour.

    The times are in milliseconds; ``used_u`` is in 1/10080 device-milliseconds, weighted by the
    share already. No amount is negative: ``sign`` -1 takes all of it away. What was not measured
    is 0, and shows in ``util_ms`` and ``unobserved_ms``.
    """

    allocation_id: int
    t0: int
    dur_ms: int
    util_ms: int = 0
    used_u: int = 0
    occupied_ms: int = 0
    unobserved_ms: int = 0
    energy_mj: int = 0
    mem_peak: int | None = None
    sign: int = 1


class Terms(NamedTuple):
    """What the sums of an allocation are weighted by, and which days they belong to."""

    share_u: int
    millicores: int
    dimensions_id: int


def apply(
    session: Session, pieces: Iterable[Piece], terms: Mapping[int, Terms] | None = None
) -> None:
    """Add the pieces to the roll-ups of their quarter hours and days.

    Args:
        session: A writing transaction; the pieces' allocations exist in it.
        pieces: What is added or taken away.
        terms: Those of the allocations, where the caller has them; others are looked up.
    """
    sums = by_quarter(pieces)
    if not sums:
        return
    known = dict(terms or {})
    known |= _terms(session, {allocation for allocation, _ in sums} - known.keys())
    zone = site_zone(session)
    rows: list[tuple[int | None, ...]] = []
    days: dict[tuple[int, int], list[int]] = {}
    for key in sorted(sums):
        allocation, quarter = key
        dur, util, used, occupied, unobserved, energy, peak = sums[key]
        share, millicores, dimensions = known[allocation]
        row = (
            *(share * dur, used, share * util, share * occupied, share * unobserved),
            *(millicores * dur, energy),
        )
        rows.append((allocation, quarter, *row, dur, None if peak < 0 else peak, 1))
        day = days.setdefault((local_day(zone, quarter), dimensions), [0] * len(row))
        for place, amount in enumerate(row):
            day[place] += amount
    upsert(session, _QUARTER, _QUARTER_COLUMNS, rows, _add_quarter)
    add_days(session, days)


def by_quarter(pieces: Iterable[Piece]) -> dict[tuple[int, int], list[int]]:
    """Sum pieces by allocation and quarter hour.

    Returns:
        For each, signed: dur_ms, util_ms, used_u, occupied_ms, unobserved_ms, energy_mj; and the
        peak of memory, -1 where none was read.
    """
    sums: dict[tuple[int, int], list[int]] = {}
    for whole in pieces:
        first = whole[1] // QUARTER_MS
        if whole[1] + whole[2] <= (first + 1) * QUARTER_MS:
            _sum(sums, first, whole)
        else:
            for quarter, piece in split(whole):
                _sum(sums, quarter, piece)
    return sums


def _sum(sums: dict[tuple[int, int], list[int]], quarter: int, piece: Piece) -> None:
    allocation, _, dur, util, used, occupied, unobserved, energy, peak, sign = piece
    sum_ = sums.get((allocation, quarter))
    if sum_ is None:
        sum_ = sums[allocation, quarter] = [0, 0, 0, 0, 0, 0, -1]
    sum_[0] += sign * dur
    sum_[1] += sign * util
    sum_[2] += sign * used
    sum_[3] += sign * occupied
    sum_[4] += sign * unobserved
    sum_[5] += sign * energy
    if peak is not None and peak > sum_[6]:
        sum_[6] = peak


def split(piece: Piece) -> Iterator[tuple[int, Piece]]:
    """Cut a piece at the quarter hours, each with its number; the parts add up to the piece.

    What holds of the piece holds of each part: used <= util x share, and what was occupied, or
    measured, and what was not observed are no more than its duration.
    """
    end = piece.t0 + piece.dur_ms
    first = piece.t0 // QUARTER_MS
    if end <= (first + 1) * QUARTER_MS:
        yield first, piece
        return
    rest = piece
    for quarter, begin, stop in quarters(piece.t0, end):
        part, rest = cut(rest, stop - begin)
        yield quarter, part


def cut(piece: Piece, dur_ms: int) -> tuple[Piece, Piece]:
    """Divide a piece in two, the first of the given duration, each quantity in proportion."""
    whole = piece.dur_ms
    unobserved = apportion(piece.unobserved_ms, whole, dur_ms)
    # Rounded as sums, so that rounding cannot make two parts more than their span.
    occupied = apportion(piece.unobserved_ms + piece.occupied_ms, whole, dur_ms) - unobserved
    util = apportion(piece.unobserved_ms + piece.util_ms, whole, dur_ms) - unobserved
    used = apportion(piece.used_u, piece.util_ms, util)
    energy = apportion(piece.energy_mj, whole, dur_ms)
    first = piece._replace(
        dur_ms=dur_ms,
        util_ms=util,
        used_u=used,
        occupied_ms=occupied,
        unobserved_ms=unobserved,
        energy_mj=energy,
    )
    second = piece._replace(
        t0=piece.t0 + dur_ms,
        dur_ms=whole - dur_ms,
        util_ms=piece.util_ms - util,
        used_u=piece.used_u - used,
        occupied_ms=piece.occupied_ms - occupied,
        unobserved_ms=piece.unobserved_ms - unobserved,
        energy_mj=piece.energy_mj - energy,
    )
    return first, second


def site_zone(session: Session) -> str:
    """The zone whose days the roll-ups have, as this transaction sees it."""
    known = session.info.get(_KNOWN_ZONE)
    if known is None:
        value = select(SettingRow.value).where(SettingRow.name == ZONE_SETTING)
        known = session.info[_KNOWN_ZONE] = session.scalar(value) or DEFAULT_ZONE
    return str(known)


def forget_zone(session: Session) -> None:
    """Look the zone up anew: this transaction changes it."""
    session.info.pop(_KNOWN_ZONE, None)


@lru_cache(maxsize=200_000)
def local_day(zone: str, quarter: int) -> int:
    """``date.toordinal()`` of the day of the zone in which a quarter hour begins."""
    return datetime.fromtimestamp(quarter * QUARTER_MS // 1000, _zone(zone)).toordinal()


def is_zone(name: str) -> bool:
    """Whether the machine's database of time zones has this one."""
    try:
        _zone(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def add_days(session: Session, sums: Mapping[tuple[int, int], Iterable[int]]) -> None:
    """Add sums, in the order of the table's columns, to the rows of (day, dimensions)."""
    rows = [(*key, *sums[key], 1) for key in sorted(sums)]
    upsert(session, _DAY, _DAY_COLUMNS, rows, _add_day)


def _terms(session: Session, allocations: set[int]) -> dict[int, Terms]:
    found: dict[int, Terms] = {}
    wanted = sorted(allocations)
    columns = (AllocationRow.share_u, AllocationRow.millicores, AllocationRow.dimensions_id)
    for start in range(0, len(wanted), _LOOKUP):
        some = AllocationRow.id.in_(wanted[start : start + _LOOKUP])
        for id_, *terms in session.execute(select(AllocationRow.id, *columns).where(some)):
            found[id_] = Terms(*terms)
    return found


_QUARTER: Final[Table] = QuarterRow.metadata.tables[QuarterRow.__tablename__]
_DAY: Final[Table] = DayRow.metadata.tables[DayRow.__tablename__]
SUMS: Final = (
    *("alloc_u", "used_u", "util_u", "occupied_u", "unobserved_u"),
    *("core_ms", "energy_mj"),
)
"""The sums that quarters and days have, in their order here."""
_QUARTER_COLUMNS: Final = ("allocation_id", "quarter", *SUMS, "dur_ms", "mem_peak", "version")
_DAY_COLUMNS: Final = ("day", "dimensions_id", *SUMS, "version")


def _add_quarter(insert: Any) -> Any:
    old, new = _QUARTER.c, insert.excluded
    peak = case(
        (new.mem_peak.is_(None), old.mem_peak),
        (old.mem_peak > new.mem_peak, old.mem_peak),
        else_=new.mem_peak,
    )
    values = {name: old[name] + new[name] for name in (*SUMS, "dur_ms", "version")}
    return insert.on_conflict_do_update(
        index_elements=["allocation_id", "quarter"], set_={**values, "mem_peak": peak}
    )


def _add_day(insert: Any) -> Any:
    values = {name: _DAY.c[name] + insert.excluded[name] for name in (*SUMS, "version")}
    return insert.on_conflict_do_update(index_elements=["day", "dimensions_id"], set_=values)
