"""Usage by allocation and month of UTC: what stands for quarter hours that are no longer kept.

Days have the totals of reports for good, but not by allocation. An export has one record for each
allocation and month, and a session's page shows what the session used, however old it is: for both,
the roll-ups by quarter hour are added up here in the transaction that drops them. A month may have
both, its row here and quarter hours: those that are still kept, and what came late.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Table, case, delete, select, tuple_
from sqlalchemy.orm import Session

from arcetri_accounting.contract.units import QUARTER_MS, from_ms, to_ms
from arcetri_accounting.ledger.bulk import upsert
from arcetri_accounting.ledger.rollups import SUMS
from arcetri_accounting.ledger.tables import MonthRow, QuarterRow

LOST_SETTING: Final = "months_kept_from"
"""An earlier version dropped quarter hours before this number and kept no months for them."""
_QUARTERS_A_DAY: Final = 96
_AMOUNTS: Final = ("dur_ms", *SUMS)
_QUARTER: Final[Table] = QuarterRow.metadata.tables[QuarterRow.__tablename__]
_MONTH: Final[Table] = MonthRow.metadata.tables[MonthRow.__tablename__]
_COLUMNS: Final = ("allocation_id", "month", "first_quarter", "mem_peak", *_AMOUNTS)


def number(year: int, month: int) -> int:
    """The number of a month: twelve times its year, and 0 to 11."""
    return 12 * year + month - 1


def month_of(quarter: int) -> int:
    """The number of the month in which a quarter hour lies."""
    return _month_of_day(quarter // _QUARTERS_A_DAY)


@lru_cache(maxsize=20_000)
def _month_of_day(day: int) -> int:
    at = from_ms(day * _QUARTERS_A_DAY * QUARTER_MS)
    return number(at.year, at.month)


def begin_of(month: int) -> int:
    """The number of a month's first quarter hour."""
    return to_ms(datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)) // QUARTER_MS


def name_of(month: int) -> str:
    """A month as ``2026-11``."""
    return f"{month // 12:04}-{month % 12 + 1:02}"


def drop_quarters(session: Session, before: int, most: int) -> int:
    """Add some quarter hours from before a number up by month, and drop them; return how many."""
    key = (_QUARTER.c.allocation_id, _QUARTER.c.quarter)
    old = select(*key).where(_QUARTER.c.quarter < before).order_by(*key).limit(most)
    keys = [tuple(row) for row in session.execute(old)]
    if keys:
        amounts = (_QUARTER.c[name] for name in _AMOUNTS)
        # What is deleted says what it held: a writer may have added to it since it was chosen.
        gone = delete(_QUARTER).where(tuple_(*key).in_(keys))
        _add(session, session.execute(gone.returning(*key, _QUARTER.c.mem_peak, *amounts)).all())
    return len(keys)


def _add(session: Session, quarters: Iterable[Sequence[Any]]) -> None:
    found: dict[tuple[int, int], list[Any]] = {}
    for allocation, quarter, peak, *amounts in quarters:
        if not any(amounts):
            continue
        nothing = [quarter, None, *[0] * len(_AMOUNTS)]
        one = found.setdefault((allocation, month_of(quarter)), nothing)
        one[0] = min(one[0], quarter)
        one[1] = peak if one[1] is None else max(one[1], peak or 0)
        for place, amount in enumerate(amounts, 2):
            one[place] += amount
    rows = [(*key, *found[key]) for key in sorted(found)]
    upsert(session, _MONTH, _COLUMNS, rows, _plus)


def _plus(insert: Any) -> Any:
    old, new = _MONTH.c, insert.excluded
    peak = case(
        (new.mem_peak.is_(None), old.mem_peak),
        (old.mem_peak > new.mem_peak, old.mem_peak),
        else_=new.mem_peak,
    )
    first = case(
        (old.first_quarter < new.first_quarter, old.first_quarter), else_=new.first_quarter
    )
    values = {name: old[name] + new[name] for name in _AMOUNTS}
    return insert.on_conflict_do_update(
        index_elements=["allocation_id", "month"],
        set_={**values, "mem_peak": peak, "first_quarter": first},
    )
