"""How long sessions lasted, by the witness's account."""

from __future__ import annotations

from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from arcetri_accounting.contract.lengths import SessionLength, SessionLengths
from arcetri_accounting.ledger.retention import DAY_MS
from arcetri_accounting.ledger.tables import WitnessRow

MOST: Final = 10_000
"""Sessions in one answer."""


def read(session: Session, days: int, now: int) -> SessionLengths:
    """Sessions that began in the last days and are over; the newest ones, where they are many.

    One whose end was found later, and is therefore not known, is left out.

    Args:
        session: The database's.
        days: So many.
        now: Milliseconds since 1970.
    """
    since = max(now - days * DAY_MS, 0)
    rows = session.execute(
        select(WitnessRow.start, WitnessRow.started_at, WitnessRow.ended_at, WitnessRow.end_reason)
        .where(WitnessRow.started_at >= since, WitnessRow.started_at <= now)
        .where(WitnessRow.ended_at >= WitnessRow.started_at)
        .where(WitnessRow.end_is_estimate.is_(False))
        .order_by(WitnessRow.started_at.desc(), WitnessRow.session)
        .limit(MOST + 1)
    ).all()
    if len(rows) > MOST:
        since = int(rows[MOST - 1].started_at)
        rows = rows[:MOST]
    return SessionLengths(
        at=now,
        since=since,
        sessions=tuple(
            SessionLength(
                flavor=start["flavor"],
                flavor_type=start["flavor_type"],
                group=start["group"],
                kind=start["kind"],
                began=began,
                lasted=ended - began,
                reason=reason or "",
            )
            for start, began, ended, reason in reversed(rows)
        ),
    )
