"""What agents and the spawner say differently of the sessions that a reader may see."""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import Session

from arcetri_accounting.ledger.disputes import Dispute
from arcetri_accounting.ledger.tables import AllocationRow, Dimensions, DiscrepancyRow
from arcetri_accounting.reports import queries, service
from arcetri_accounting.reports.service import Asked, Context

MOST: Final = 200
"""So many are listed, the latest found first."""


def within(session: Session, found: Context, asked: Asked) -> list[Dispute]:
    """Those about sessions with usage in a period, as far as the view shows these sessions.

    Raises:
        arcetri_accounting.ledger.errors.Forbidden: The reader has no such view.
    """
    _, sight = service.choose_view(found, asked.wanted, asked.view)
    period = asked.wanted.period
    return _listed(
        session,
        exists().where(
            AllocationRow.session == DiscrepancyRow.session,
            Dimensions.id == AllocationRow.dimensions_id,
            AllocationRow.first < period.end_ms,
            AllocationRow.last >= period.start_ms,
            *queries.narrowed(asked.wanted, sight, found.known_groups),
        ),
    )


def of_session(session: Session, name: str) -> list[Dispute]:
    """Those about one session, which the reader is known to see."""
    return _listed(session, DiscrepancyRow.session == name)


def _listed(session: Session, condition: ColumnElement[bool]) -> list[Dispute]:
    order = (DiscrepancyRow.found_at.desc(), DiscrepancyRow.session, DiscrepancyRow.code)
    statement = select(DiscrepancyRow).where(condition).order_by(*order).limit(MOST)
    return [
        Dispute(one.session, one.code, one.agent_says, one.witness_says)
        for one in session.scalars(statement)
    ]
