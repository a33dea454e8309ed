"""The tails that agents told of sessions which have been reconciled since."""

from __future__ import annotations

from sqlalchemy import ColumnElement, delete, exists, or_, select
from sqlalchemy.orm import Session

from arcetri_accounting.ledger.tables import AllocationRow, OpenRow, ReconciledRow, WitnessRow


def take(session: Session, which: ColumnElement[bool]) -> None:
    """Take away tails of sessions that are reconciled: the totals have that time already.

    A tail that begins after the witness's end is left: there the agent says something else. The
    caller holds the lock of the node.

    Args:
        session: A writing transaction.
        which: Narrows the tails, as a condition on ``OpenRow``.
    """
    session.execute(
        delete(OpenRow).where(which, _replaced()),
        execution_options={"synchronize_session": False},
    )


def left_over(session: Session) -> list[str]:
    """The nodes of which such tails are left."""
    return list(session.scalars(select(OpenRow.node).where(_replaced()).distinct()))


def _replaced() -> ColumnElement[bool]:
    closed = exists().where(ReconciledRow.session == WitnessRow.session)
    return exists().where(
        AllocationRow.id == OpenRow.allocation_id,
        WitnessRow.session == AllocationRow.session,
        WitnessRow.node == AllocationRow.node,
        WitnessRow.ended_at > OpenRow.t0,
        or_(WitnessRow.reconciled_at.is_not(None), closed),
    )
