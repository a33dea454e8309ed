"""A change of the site's zone: the same quarter hours, in other days."""

from __future__ import annotations

from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session

from arcetri_accounting.ledger import rollups
from arcetri_accounting.ledger.rollups import SUMS, local_day, site_zone
from arcetri_accounting.ledger.tables import AllocationRow, DayRow, QuarterRow


def change(session: Session, zone: str) -> bool:
    """Move what the roll-ups by day hold to the days of another zone; the caller then stores it.

    What each quarter hour has is taken from one day and given to another, so that totals stay, and
    so do days whose quarter hours are no longer kept. The transaction has the database to itself.

    Returns:
        Whether it is another zone.
    """
    before = site_zone(session)
    if zone == before:
        return False
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SET LOCAL statement_timeout = 0"))
    sums = [func.sum(getattr(QuarterRow, name)) for name in SUMS]
    rows = session.execute(
        select(QuarterRow.quarter, AllocationRow.dimensions_id, *sums)
        .join(AllocationRow, AllocationRow.id == QuarterRow.allocation_id)
        .group_by(QuarterRow.quarter, AllocationRow.dimensions_id)
        .execution_options(yield_per=10_000)
    )
    moved: dict[tuple[int, int], list[int]] = {}
    for quarter, dimensions, *amounts in rows:
        old, new = local_day(before, quarter), local_day(zone, quarter)
        if old == new:
            continue
        for day, sign in ((old, -1), (new, 1)):
            sum_ = moved.setdefault((day, dimensions), [0] * len(SUMS))
            for place, amount in enumerate(amounts):
                sum_[place] += sign * int(amount)
    keys = sorted(moved)
    for start in range(0, len(keys), 5000):
        rollups.add_days(session, {key: moved[key] for key in keys[start : start + 5000]})
    empty = [getattr(DayRow, name) == 0 for name in SUMS]
    session.execute(delete(DayRow).where(*empty))
    rollups.forget_zone(session)
    return True
