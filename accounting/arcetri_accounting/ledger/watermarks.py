"""Up to where everything of a writer has been received: what may be acknowledged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from arcetri_accounting.ledger.errors import Refused
from arcetri_accounting.ledger.intervals import Ranges, contains, numbers, subtract, union
from arcetri_accounting.ledger.tables import Watermark

_MAX_RANGES: Final = 2000


@dataclass(slots=True)
class Mark:
    """The numbers received of one writer and epoch; the caller has the writer to itself."""

    id: int
    received: Ranges
    changed: bool = False

    @property
    def contiguous(self) -> int:
        """The highest number up to which there is everything."""
        first = self.received[0] if self.received else (1, 1)
        return first[1] - 1 if first[0] <= 1 else 0

    def has(self, seq: int) -> bool:
        """Whether a number was received."""
        if not self.received or seq >= self.received[-1][1]:
            return False
        return contains(self.received, seq)

    def add(self, *seqs: int) -> None:
        """Note numbers as received."""
        if seqs and seqs[-1] - seqs[0] == len(seqs) - 1 and sorted(seqs) == list(seqs):
            self._become(union((*self.received, (seqs[0], seqs[-1] + 1))))
        else:
            self._become(union((*self.received, *numbers(seqs))))

    def add_below(self, seq: int) -> Ranges:
        """Note everything below a number as received, and return what was not."""
        before = self.received
        self._become(union((*before, (1, seq))))
        return subtract(union([(1, seq)]), before)

    def _become(self, received: Ranges) -> None:
        self.changed = self.changed or received != self.received
        self.received = received


def load(session: Session, writer: str, epoch: str, now: int) -> Mark:
    """The writer's mark, made where it is not there.

    The caller holds the writer's lock (``database.hold``): no other changes it meanwhile.
    """
    wanted = (
        select(Watermark.id, Watermark.contiguous, Watermark.beyond)
        .where(Watermark.writer == writer, Watermark.epoch == epoch)
        .with_for_update()
    )
    row = session.execute(wanted).one_or_none()
    if row is None:
        values = {"writer": writer, "epoch": epoch, "contiguous": 0, "beyond": []}
        session.execute(insert(Watermark).values(updated_at=now, **values))
        row = session.execute(wanted).one()
    beyond = [(first, last + 1) for first, last in row.beyond]
    return Mark(row.id, union([(1, row.contiguous + 1), *beyond]))


def store(session: Session, mark: Mark, now: int) -> None:
    """Keep the mark.

    Raises:
        Refused: The numbers have too many holes to be those of a spool.
    """
    contiguous = mark.contiguous
    beyond = [[begin, end - 1] for begin, end in mark.received if begin > contiguous + 1]
    if len(beyond) > _MAX_RANGES:
        raise Refused(
            f"The numbers received have more than {_MAX_RANGES} holes.",
            code="numbers_sparse",
            remedy="Send the lowest records first: a spool numbers them without holes.",
        )
    session.execute(
        update(Watermark)
        .where(Watermark.id == mark.id)
        .values(contiguous=contiguous, beyond=beyond, updated_at=now)
    )
