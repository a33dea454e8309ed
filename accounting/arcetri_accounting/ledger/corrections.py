"""An administrator's changes to what was used: appended with author and reason, never edited."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from arcetri_accounting import killpoints
from arcetri_accounting.contract.units import QUARTER_MS, quarters
from arcetri_accounting.ledger import counted, rollups
from arcetri_accounting.ledger.counted import WITHDRAWER, WITHDRAWN
from arcetri_accounting.ledger.database import Database, hold
from arcetri_accounting.ledger.errors import Refused
from arcetri_accounting.ledger.intervals import Ranges, intersect, size, subtract
from arcetri_accounting.ledger.rollups import Piece
from arcetri_accounting.ledger.tables import AllocationRow, CorrectionRow, QuarterRow
from arcetri_accounting.ledger.times import said

_SHOWN: Final = 3
_SLIVER_MS: Final = 1000
"""Between records that follow each other, by two clocks: nobody means such a hole."""


@dataclass(frozen=True, slots=True)
class Correction:
    """What is to be changed, and who says so."""

    session: str
    device: str | None
    """None where the session has one allocation only."""
    t0: int
    t1: int
    sign: int
    """1 adds the span as unobserved; -1 takes away what was counted in it."""
    author: str
    reason: str


@dataclass(frozen=True, slots=True)
class Made:
    """A correction that was made."""

    id: int
    allocation_id: int
    alloc_u: int
    """Signed, in 1/10080 device-milliseconds."""
    by_quarters: bool = False
    """The records of a part of the span are gone: it was held against quarter hours only."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A correction as it was made."""

    id: int
    made_at: int
    author: str
    reason: str
    session: str
    device: str
    t0: int
    t1: int
    sign: int
    alloc_u: int
    """Signed, in 1/10080 device-milliseconds."""


def correct(database: Database, wanted: Correction, now: int) -> Made:
    """Make a correction.

    Raises:
        Refused: It names no allocation, or would make a total impossible; nothing was changed.
    """
    if not wanted.reason.strip() or not wanted.author.strip():
        raise Refused(
            "A correction needs an author and a reason.", remedy="Say who changes it, and why."
        )
    if wanted.t0 >= wanted.t1:
        raise Refused("The correction's span is empty.", remedy="Give a later end.")

    def work(session: Session) -> Made:
        allocation = _find(session, wanted)
        hold(session, f"node:{allocation.node}")
        held = counted.of(session, allocation, wanted.t0, wanted.t1, siblings=wanted.sign > 0)
        pieces = (
            _added(session, allocation, wanted, held.known)
            if wanted.sign > 0
            else _taken(session, allocation, wanted, held)
        )
        made = _append(session, allocation.id, wanted, pieces, now)
        killpoints.reach("correct.appended")
        rollups.apply(session, as_pieces(allocation.id, wanted.sign, pieces))
        changed = wanted.sign * sum(piece[1] for piece in pieces) * allocation.share_u
        return Made(made, allocation.id, changed, by_quarters=bool(held.unknown))

    return database.write(work, once=True)


def listed(database: Database, t0: int | None = None, t1: int | None = None) -> list[Listed]:
    """All corrections of usage between two moments, in the order in which they were made."""
    wanted = select(CorrectionRow, AllocationRow).join(
        AllocationRow, AllocationRow.id == CorrectionRow.allocation_id
    )
    if t0 is not None:
        wanted = wanted.where(CorrectionRow.t0 + CorrectionRow.dur_ms > t0)
    if t1 is not None:
        wanted = wanted.where(CorrectionRow.t0 < t1)

    def work(session: Session) -> list[Listed]:
        return [
            Listed(
                *(row.id, row.made_at, row.author, row.reason),
                *(allocation.session, allocation.device),
                *(row.t0, row.t0 + row.dur_ms, row.sign),
                row.sign * sum(piece[1] for piece in row.pieces) * allocation.share_u,
            )
            for row, allocation in session.execute(wanted.order_by(CorrectionRow.id))
        ]

    return database.read(work)


def withdraw(session: Session, allocation_id: int, now: int) -> list[Piece]:
    """Undo an allocation's corrections by opposite ones; return what changes in the roll-ups."""
    rows = session.scalars(
        select(CorrectionRow).where(CorrectionRow.allocation_id == allocation_id)
    ).all()
    net: dict[int, list[int]] = {}
    for row in rows:
        for quarter, *amounts in row.pieces:
            sum_ = net.setdefault(quarter, [0] * 6)
            for place, amount in enumerate(amounts):
                sum_[place] += row.sign * amount
    pieces: list[Piece] = []
    for sign in (1, -1):
        # What was taken away comes back with sign 1, what was added goes with sign -1.
        undone = [
            [quarter, *(max(0, -sign * amount) for amount in sum_)]
            for quarter, sum_ in sorted(net.items())
            if any(-sign * amount > 0 for amount in sum_)
        ]
        if undone:
            wanted = Correction(
                session="",
                device=None,
                t0=undone[0][0] * QUARTER_MS,
                t1=(undone[-1][0] + 1) * QUARTER_MS,
                sign=sign,
                author=WITHDRAWER,
                reason=WITHDRAWN,
            )
            _append(session, allocation_id, wanted, undone, now)
            pieces += as_pieces(allocation_id, sign, undone)
    return pieces


def as_pieces(allocation_id: int, sign: int, pieces: Iterable[list[int]]) -> list[Piece]:
    """A correction's stored pieces as what changes roll-ups."""
    return [
        Piece(
            allocation_id,
            quarter * QUARTER_MS,
            dur,
            util_ms=util,
            used_u=used,
            occupied_ms=occupied,
            unobserved_ms=unobserved,
            energy_mj=energy,
            sign=sign,
        )
        for quarter, dur, util, used, occupied, unobserved, energy in pieces
    ]


def _find(session: Session, wanted: Correction) -> AllocationRow:
    every = select(AllocationRow).where(AllocationRow.session == wanted.session)
    if wanted.device is not None:
        every = every.where(AllocationRow.device == wanted.device)
    found = session.scalars(every.order_by(AllocationRow.first, AllocationRow.id)).all()
    if len(found) > 1:
        # An agent's and a reconciled one of the same device: the one that holds the span.
        within = [one for one in found if one.first < wanted.t1 and one.last > wanted.t0]
        found = within or found
    if not found:
        raise Refused(
            f"There is no usage of session {wanted.session}"
            + (f" on device {wanted.device}." if wanted.device is not None else "."),
            code="session_unknown",
            remedy="Take the session's id from a report.",
        )
    if len(found) > 1:
        devices = ", ".join(sorted({one.device or "(none)" for one in found}))
        raise Refused(
            f"Session {wanted.session} has several allocations in that span: {devices}.",
            code="correction_ambiguous",
            remedy="Name one with --device, and give a span that only one of them has.",
        )
    return found[0]


def _row(session: Session, allocation: AllocationRow, quarter: int) -> QuarterRow | None:
    return session.scalar(
        select(QuarterRow)
        .where(QuarterRow.allocation_id == allocation.id, QuarterRow.quarter == quarter)
        .with_for_update()
    )


def _added(
    session: Session, allocation: AllocationRow, wanted: Correction, known: Ranges
) -> list[list[int]]:
    if known:
        raise Refused(
            f"Of that span, {_shown(known)} is counted already.",
            code="correction_impossible",
            remedy="Add only time in which it is not counted yet.",
        )
    pieces = []
    for quarter, begin, end in quarters(wanted.t0, wanted.t1):
        row = _row(session, allocation, quarter)
        if (row.dur_ms if row else 0) + end - begin > QUARTER_MS:
            raise Refused(
                f"The allocation already has {row.dur_ms if row else 0} ms of the quarter hour"
                f" that begins at {quarter * QUARTER_MS} ms: it cannot hold a device for longer.",
                code="correction_impossible",
                remedy="Add only time in which it is not counted yet.",
            )
        pieces.append([quarter, end - begin, 0, 0, 0, end - begin, 0])
    return pieces


def _taken(
    session: Session, allocation: AllocationRow, wanted: Correction, held: counted.Counted
) -> list[list[int]]:
    absent = tuple(
        (begin, end)
        for begin, end in subtract(((wanted.t0, wanted.t1),), held.perhaps)
        if end - begin > _SLIVER_MS or begin == wanted.t0 or end == wanted.t1
    )
    if absent:
        raise Refused(
            f"Of that span, {_shown(absent)} is not counted.",
            code="correction_impossible",
            remedy="Take away only time that is counted.",
        )
    pieces = []
    for quarter, begin, end in quarters(wanted.t0, wanted.t1):
        part_ms = size(intersect(((begin, end),), held.perhaps))
        row = _row(session, allocation, quarter)
        if row is None or row.dur_ms < part_ms:
            raise Refused(
                f"The allocation has only {row.dur_ms if row else 0} ms in the quarter hour that"
                f" begins at {quarter * QUARTER_MS} ms: {part_ms} cannot be taken from it.",
                code="correction_impossible",
                remedy="Take away only time that is counted.",
            )
        share = allocation.share_u or 1
        whole = Piece(
            allocation.id,
            begin,
            row.dur_ms,
            util_ms=row.util_u // share,
            used_u=row.used_u,
            occupied_ms=row.occupied_u // share,
            unobserved_ms=row.unobserved_u // share,
            energy_mj=row.energy_mj,
        )
        part, _ = rollups.cut(whole, part_ms)
        pieces.append([quarter, *part[2:8]])
    return pieces


def _shown(ranges: Ranges) -> str:
    text = ", ".join(f"{said(begin)} to {said(end)}" for begin, end in ranges[:_SHOWN])
    more = f", and {len(ranges) - _SHOWN} more" if len(ranges) > _SHOWN else ""
    return text + more


def _append(
    session: Session, allocation_id: int, wanted: Correction, pieces: list[list[int]], now: int
) -> int:
    number = session.execute(
        insert(CorrectionRow)
        .values(
            allocation_id=allocation_id,
            t0=wanted.t0,
            dur_ms=wanted.t1 - wanted.t0,
            sign=wanted.sign,
            pieces=pieces,
            author=wanted.author,
            reason=wanted.reason,
            made_at=now,
        )
        .returning(CorrectionRow.id)
    )
    return int(number.scalar_one())
