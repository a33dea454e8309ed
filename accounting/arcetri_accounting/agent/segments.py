"""The arithmetic of segments: what was read goes into pieces, pieces are cut. Pure.

However a span is cut in pieces, the sums over the pieces are the same: durations are whole
milliseconds, what utilisation leaves below one unit is carried into the next piece, and energy is
taken as the difference of two running totals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from arcetri_accounting.agent.readings import FULL, Busy, EnergyMethod, Reading, Track

CUT_MS: Final = 300_000
"""Pieces are cut where the wall clock passes a multiple of this; each quarter hour is one."""

NOTHING: Final = Track()


@dataclass(slots=True)
class Piece:
    """The piece of an allocation that is not yet cut; moments by CLOCK_BOOTTIME."""

    b0: int
    offset: int
    """What makes a moment the wall clock's, for this piece."""
    through: int
    """Up to where it is accounted."""
    util_ms: int = 0
    busy: int = 0
    """Milliseconds times hundredths of a percent."""
    carry: int = 0
    """What earlier pieces left below one unit, in 1/10000 units."""
    occupied_ms: int = 0
    unobserved_ms: int = 0
    energy_mj: int | None = None
    energy_method: EnergyMethod | None = None
    mem_peak: int | None = None
    cut: int = field(init=False)
    """Where it has to be cut at the latest."""

    def __post_init__(self) -> None:
        self.cut = ((self.through + self.offset) // CUT_MS + 1) * CUT_MS - self.offset

    @classmethod
    def begin(cls, at: int, offset: int, carry: int = 0) -> Piece:
        """An empty piece that begins then."""
        return cls(at, offset, at, carry=carry)

    def used(self, share_u: int) -> tuple[int, int]:
        """Use in units, and what is left for the next piece."""
        return divmod(share_u * self.busy + self.carry, FULL)

    def usage(self, allocation: str, share_u: int) -> dict[str, object]:
        """What it says of an allocation, given by key, as ``contract.usage.Usage``."""
        usage: dict[str, object] = {
            "allocation": allocation,
            "t0": self.b0 + self.offset,
            "dur_ms": self.through - self.b0,
            "b0": self.b0,
            "occupied_ms": self.occupied_ms,
            "unobserved_ms": self.unobserved_ms,
        }
        if self.util_ms:
            usage["util_ms"] = self.util_ms
            usage["used_u"] = self.used(share_u)[0]
        if self.energy_mj is not None:
            usage["energy_mj"] = self.energy_mj
            usage["energy_method"] = self.energy_method
        if self.mem_peak is not None:
            usage["mem_peak"] = self.mem_peak
        return usage


def advance(
    piece: Piece,
    to: int,
    track: Track,
    share_u: int,
    *,
    began: int,
    ends: bool = False,
    hold: int = 0,
) -> list[tuple[Piece, Piece]]:
    """Account up to ``to``, cutting on the way; returns each finished piece and the one after it.

    The last piece returned as the second, or ``piece`` itself where none is cut, was changed to
    reach ``to``.

    Args:
        piece: What is open; changed.
        to: Up to where; not before ``piece.through``.
        track: What was read of the device; ``NOTHING`` where nothing can be.
        share_u: The allocation's share in units.
        began: When the allocation began: what was seen before that says nothing about it.
        ends: The allocation ends at ``to``: what is seen later says nothing about it either.
        hold: How long the last look of an allocation that ends holds, in milliseconds.
    """
    looks = _within(track.looks, to, began, hold) if ends else track.looks
    pieces: list[tuple[Piece, Piece]] = []
    while piece.cut <= to:
        account(piece, piece.cut, track.busy, looks)
        finished, piece = piece, cut_off(piece, share_u)
        pieces.append((finished, piece))
    if to > piece.through:
        account(piece, to, track.busy, looks)
    return pieces


def cut_off(piece: Piece, share_u: int, offset: int | None = None) -> Piece:
    """The piece that goes on where this one stands; ``offset`` where the clock is another."""
    # A piece in which nothing was measured has no place for what it was given: it passes it on.
    carry = piece.used(share_u)[1] if piece.util_ms else piece.carry
    return Piece.begin(piece.through, piece.offset if offset is None else offset, carry)


def trimmed(piece: Piece, to: int) -> Piece:
    """The piece as if it had been accounted only up to ``to``: its end was learned late."""
    room = max(to, piece.b0) - piece.b0
    occupied = min(piece.occupied_ms, room)
    unobserved = min(piece.unobserved_ms, room - occupied)
    util = min(piece.util_ms, room - unobserved)
    return replace(
        piece,
        through=piece.b0 + room,
        occupied_ms=occupied,
        unobserved_ms=unobserved,
        util_ms=util,
        busy=min(piece.busy, util * FULL),
    )


def account(piece: Piece, to: int, busy: Sequence[Busy], looks: Sequence[Reading]) -> None:
    """Account up to ``to``, which is after ``piece.through`` and not after ``piece.cut``."""
    # What was read is in the order of time. Comparing takes a third of the time of min and max,
    # and this is done for each device in each cycle.
    begin = piece.through
    covered: list[tuple[int, int]] = []
    for a, b, value in busy:
        if b <= begin:
            continue
        if a >= to:
            break
        a = a if a > begin else begin
        b = b if b < to else to
        piece.util_ms += b - a
        piece.busy += (b - a) * value
        covered.append((a, b))
    looked = 0
    for look in looks:
        at = look.at
        if at <= begin:
            continue
        since = look.seen_from
        if since is not None and since < to:
            a = since if since > begin else begin
            b = at if at < to else to
            if look.occupied:
                piece.occupied_ms += b - a
            looked += b - a
            if busy:
                covered.append((a, b))
        if look.energy is not None:
            a, b, energy = look.energy
            if b > begin and a < to:
                x = a if a > begin else begin
                y = b if b < to else to
                part = energy * (y - a) // (b - a) - energy * (x - a) // (b - a)
                piece.energy_mj = (piece.energy_mj or 0) + part
                piece.energy_method = look.energy_method
        held = look.memory
        if held is not None and at <= to and (piece.mem_peak is None or held > piece.mem_peak):
            piece.mem_peak = held
    # Looks do not overlap each other; what was measured may overlap them.
    piece.unobserved_ms += to - begin - (_union(covered) if busy else looked)
    piece.through = to


def _within(looks: Sequence[Reading], to: int, began: int, hold: int) -> list[Reading]:
    """Looks for the end of an allocation: the last one of presence within it holds up to its end.

    What is seen later says nothing of who was there; energy is shared out by time all the same.
    """
    found: list[Reading] = []
    last: Reading | None = None
    for look in looks:
        if look.seen_from is None:
            found.append(look)
        elif look.at > to:
            found.append(replace(look, seen_from=None))
        else:
            found.append(look)
            last = look
    if last is not None and began < last.at < to:
        until = min(to, last.at + hold)
        found.append(Reading(last.device, until, (), last.at, last.occupied))
    return found


def _union(spans: list[tuple[int, int]]) -> int:
    """How long at least one of the spans lasts."""
    total = 0
    reached = -1
    for a, b in sorted(spans):
        if b > reached:
            total += b - max(a, reached)
            reached = b
    return total
