"""What agents and the witness say differently, as a list."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from arcetri_accounting.ledger.tables import DiscrepancyRow


class Dispute(NamedTuple):
    """One thing about one session that the two say differently."""

    session: str
    code: str
    """start, end, device, node, account, group, flavor, share or kind."""
    agent_says: str
    witness_says: str


def listed(session: Session) -> list[Dispute]:
    """All of them, those found last first."""
    order = (DiscrepancyRow.found_at.desc(), DiscrepancyRow.session, DiscrepancyRow.code)
    return [
        Dispute(one.session, one.code, one.agent_says, one.witness_says)
        for one in session.scalars(select(DiscrepancyRow).order_by(*order))
    ]
