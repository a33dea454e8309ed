"""Which time of an allocation is counted, as far as its records are kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from arcetri_accounting.ledger.intervals import Range, Ranges, intersect, subtract, union
from arcetri_accounting.ledger.tables import (
    AllocationRow,
    CompactedRow,
    CorrectionRow,
    ImportedRow,
    OpenRow,
    ReconciledRow,
    SegmentRow,
)

WITHDRAWER: Final = "arcetri-ledger"
"""The author of corrections that undo others, because what they corrected was withdrawn."""
WITHDRAWN: Final = "the span it corrected was withdrawn, because its agent's record came"
_SPANS: Final = (SegmentRow, ImportedRow, ReconciledRow, OpenRow)


@dataclass(frozen=True, slots=True)
class Counted:
    """Parts of a span, in milliseconds since 1970."""

    known: Ranges
    """Counted, as records say."""
    unknown: Ranges
    """Counted or not: the records were dropped, and quarter hours alone stand for them."""

    @property
    def perhaps(self) -> Ranges:
        """Whatever may be counted."""
        return union([*self.known, *self.unknown])


def of(session: Session, allocation: AllocationRow, t0: int, t1: int, *, siblings: bool) -> Counted:
    """Find what of a span is counted.

    Args:
        session: A transaction.
        allocation: Whose time it is.
        t0: Where the span begins.
        t1: Where it ends.
        siblings: Whether what its session holds of the same device as another allocation counts
            too: one that was closed from the witness stands beside the agent's.
    """
    ours = [allocation]
    # Imported records of two sites may have one id, and name neither node nor device.
    if siblings and allocation.node:
        ours = list(
            session.scalars(
                select(AllocationRow).where(
                    AllocationRow.session == allocation.session,
                    AllocationRow.node == allocation.node,
                    AllocationRow.device == allocation.device,
                )
            )
        )
    found = [_one(session, one, t0, t1) for one in ours]
    known = union(range_ for one in found for range_ in one.known)
    unknown = union(range_ for one in found for range_ in one.unknown)
    return Counted(known, subtract(unknown, known))


def _one(session: Session, allocation: AllocationRow, t0: int, t1: int) -> Counted:
    spans: list[Range] = []
    for row in _SPANS:
        rows = session.execute(
            select(row.t0, row.dur_ms).where(
                row.allocation_id == allocation.id, row.t0 < t1, row.t0 + row.dur_ms > t0
            )
        )
        spans += [(begin, begin + dur_ms) for begin, dur_ms in rows]
    compacted = session.scalars(
        select(CompactedRow).where(CompactedRow.allocation_id == allocation.id)
    ).all()
    for day in compacted:
        spans += [(at, at + end - begin) for _, begin, end, at in day.covered]
    known = union(spans)
    unknown: Ranges = ()
    # What was compacted is in its days; a part of a session may be in none.
    if allocation.pruned_before is not None and not compacted:
        unknown = ((min(t0, allocation.pruned_before), allocation.pruned_before),)
        unknown = subtract(union(unknown), known)
    for sign, begin, end in _corrections(session, allocation.id):
        if sign > 0:
            known = union([*known, (begin, end)])
            unknown = subtract(unknown, ((begin, end),))
        else:
            known = subtract(known, ((begin, end),))
            unknown = subtract(unknown, ((begin, end),))
    whole = ((t0, t1),)
    return Counted(intersect(whole, known), intersect(whole, unknown))


def _corrections(session: Session, allocation_id: int) -> Iterable[tuple[int, int, int]]:
    rows = session.scalars(
        select(CorrectionRow)
        .where(CorrectionRow.allocation_id == allocation_id)
        .order_by(CorrectionRow.id)
    )
    found: list[tuple[int, int, int]] = []
    for row in rows:
        if (row.author, row.reason) == (WITHDRAWER, WITHDRAWN):
            # It leaves nothing of all those before it.
            found.clear()
        else:
            found.append((row.sign, row.t0, row.t0 + row.dur_ms))
    return found
