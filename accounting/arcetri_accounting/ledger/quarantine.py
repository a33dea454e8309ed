"""Records that are set aside, with why; each once, however often it is delivered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from arcetri_accounting.ledger.bulk import ignore, upsert
from arcetri_accounting.ledger.delivery import Refusal
from arcetri_accounting.ledger.tables import QuarantineRow

MAX_KEPT: Final = 20_000
"""Of one writer; beyond it they are only counted, so that a broken one cannot fill the disk."""
_MAX_CONTENT: Final = 4000
_COLUMNS: Final = ("writer", "epoch", "seq", "code", "why", "sha256", "content", "received_at")


def set_aside(
    session: Session, writer: str, epoch: str, refusals: Sequence[Refusal], now: int
) -> None:
    """Keep what was refused for an operator to look at."""
    if not refusals:
        return
    kept = session.scalar(
        select(func.count()).select_from(QuarantineRow).where(QuarantineRow.writer == writer)
    )
    room = max(0, MAX_KEPT - (kept or 0))
    chosen = {(one.seq, one.sha256): one for one in refusals[:room]}
    rows = [
        (
            *(writer, epoch, one.seq, one.code, one.why[:_MAX_CONTENT]),
            *(one.sha256, one.content[:_MAX_CONTENT], now),
        )
        for _, one in sorted(chosen.items())
    ]
    upsert(session, QuarantineRow.metadata.tables["usage_quarantine"], _COLUMNS, rows, ignore)


def listed(session: Session) -> list[QuarantineRow]:
    """Everything that was set aside, in the order in which it came."""
    return list(session.scalars(select(QuarantineRow).order_by(QuarantineRow.id)))
