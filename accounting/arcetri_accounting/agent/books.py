"""Who holds what, and how far it is accounted for: the agent's state, without any I/O.

Everything is accounted up to a little before now, because an end is read a little after it was
stamped. A session's allocations go from the moments that the source gives, whatever was or was not
observed in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from arcetri_accounting.agent.allocations import Ended, Started
from arcetri_accounting.agent.readings import Track
from arcetri_accounting.agent.segments import NOTHING, Piece, account, advance, cut_off, trimmed
from arcetri_accounting.contract.units import share_units
from arcetri_accounting.contract.usage import Allocation

LAG_MS: Final = 2_000
"""How much later than it is stamped an end may be read, while its disk takes its time."""


def name_of(session: str, device: str) -> str:
    """Names a session's allocation of a device."""
    return f"holding {session} {device}"


@dataclass(slots=True)
class Holding:
    """An allocation that has begun and is not yet closed."""

    allocation: Allocation
    username: str
    boot_id: str
    began: int
    piece: Piece
    pid: int = 0
    pid_start_ticks: int = 0
    alive_at: int = -1
    """When its first process was last seen alive; -1 where it never was."""
    end: Ended | None = None
    key: str = field(init=False)
    name: str = field(init=False)
    """Under which what does not change of it is kept."""
    share_u: int = field(init=False)

    def __post_init__(self) -> None:
        self.key = self.allocation.key()
        self.name = name_of(self.allocation.session, self.allocation.device)
        self.share_u = share_units(self.allocation.share)


@dataclass(frozen=True, slots=True)
class Birth:
    """When this epoch began: what lies before it was counted in another, or by nobody."""

    wall: int
    boot: int
    boot_id: str


@dataclass(frozen=True, slots=True)
class Cut:
    """A finished piece."""

    holding: Holding
    piece: Piece


class Books:
    """All holdings of a node, in one boot."""

    def __init__(self, boot_id: str, birth: Birth, interval: int) -> None:
        """Begin with nothing, for a boot; samples are taken every ``interval`` milliseconds."""
        self.boot_id = boot_id
        self.birth = birth
        self.hold = interval * 3 // 2
        """How long a look at a device holds."""
        self.patience = interval * 5 // 2
        """How long a device may leave its reading out before its time counts as unobserved."""
        self.heard = 0
        """Up to when all that the source knew of starts and ends was read."""
        self.offset = 0
        """What makes a moment of this boot the wall clock's."""
        self.holdings: dict[tuple[str, str], Holding] = {}
        """By session and device."""
        self.changes = 0
        """Grows with each holding that begins, ends or becomes another."""

    def start(self, event: Started, generation: Callable[[str], int]) -> list[Holding]:
        """Take a session's start; return what was opened."""
        if event.boot_id == self.birth.boot_id:
            began = max(event.boot, self.birth.boot)
        elif event.wall < self.birth.wall:
            return []
        else:
            began = event.boot
        here = event.boot_id == self.boot_id
        offset = self.offset if here else event.wall - event.boot
        opened = []
        for allocation in event.allocations:
            place = (event.session, allocation.device)
            if place in self.holdings:
                continue
            number = generation(allocation.device)
            if number != allocation.generation:
                allocation = allocation.model_copy(update={"generation": number})
            holding = Holding(
                allocation,
                event.username,
                event.boot_id,
                began,
                Piece.begin(began, offset),
                event.pid,
                event.pid_start_ticks,
            )
            self.holdings[place] = holding
            self.changes += 1
            opened.append(holding)
        return opened

    def end(self, event: Ended) -> bool:
        """Take a session's end; False where nothing of it is held."""
        found = [
            one
            for (session, device), one in self.holdings.items()
            if session == event.session and (not event.devices or device in event.devices)
        ]
        for holding in found:
            holding.end = event
            # It was read later than the lag: what is not yet cut is taken back.
            if event.boot_id == holding.boot_id and event.boot < holding.piece.through:
                holding.piece = trimmed(holding.piece, event.boot)
        return bool(found)

    def step(self, offset: int) -> Iterator[Cut]:
        """The wall clock is another: cut what runs."""
        self.offset = offset
        for holding in self.holdings.values():
            if holding.boot_id == self.boot_id:
                yield from self._cut(holding, offset)

    def regenerate(self, uuid: str, generation: int) -> Iterator[Cut]:
        """A device is another one with the same uuid: cut, and go on with an allocation of that."""
        for place, holding in list(self.holdings.items()):
            if place[1] != uuid or holding.allocation.generation == generation:
                continue
            yield from self._cut(holding, None)
            allocation = holding.allocation.model_copy(update={"generation": generation})
            self.holdings[place] = replace(holding, allocation=allocation)
            self.changes += 1

    def advance(self, now: int, tracks: Mapping[str, Track]) -> Iterator[Cut]:
        """Account up to ``now``, as far as starts and ends are known, and close what has ended."""
        patient, heard = now - self.patience, self.heard - LAG_MS
        for place, holding in list(self.holdings.items()):
            track = tracks.get(place[1], NOTHING)
            piece = holding.piece
            if holding.end is None and holding.boot_id == self.boot_id:
                # Nearly always. What may have ended since the source was last read must not be
                # counted on and cut.
                ends = False
                to = track.horizon if track is not NOTHING else now
                if to < patient:
                    to = patient
                if to > heard:
                    to = heard
                if 0 <= holding.alive_at < to:
                    # A dead process most often means an end that is about to be written.
                    to = holding.alive_at
            else:
                to, ends = self._target(holding, track, now)
            if to < piece.cut and not ends:
                # What ``advance`` makes of it is the same.
                if to > piece.through:
                    account(piece, to, track.busy, track.looks)
                continue
            if to > piece.through:
                for finished, after in advance(
                    piece,
                    to,
                    track,
                    holding.share_u,
                    began=holding.began,
                    ends=ends,
                    hold=self.hold,
                ):
                    holding.piece = after
                    yield Cut(holding, finished)
            if ends:
                del self.holdings[place]
                self.changes += 1
                if holding.piece.through > holding.piece.b0:
                    yield Cut(holding, holding.piece)

    def close_other_boots(self) -> Iterator[Cut]:
        """Close what another boot left: nothing says how long it went on; the witness may."""
        for place, holding in list(self.holdings.items()):
            if holding.boot_id != self.boot_id:
                del self.holdings[place]
                self.changes += 1
                if holding.piece.through > holding.piece.b0:
                    yield Cut(holding, holding.piece)

    def cut_all(self) -> Iterator[Cut]:
        """Cut everything where it stands."""
        for holding in self.holdings.values():
            yield from self._cut(holding, None)

    def _cut(self, holding: Holding, offset: int | None) -> Iterator[Cut]:
        finished = holding.piece
        holding.piece = cut_off(finished, holding.share_u, offset)
        if finished.through > finished.b0:
            yield Cut(holding, finished)

    def _target(self, holding: Holding, track: Track, now: int) -> tuple[int, bool]:
        """Up to where to account what ends, or is of another boot, and whether it ends there."""
        through = holding.piece.through
        end = holding.end
        if end is not None and end.boot_id != holding.boot_id:
            return through, True
        if end is None:
            return through, False
        if holding.boot_id != self.boot_id:
            return end.boot, True
        to = end.boot
        if end.estimated and holding.alive_at >= 0:
            to = min(to, max(holding.alive_at, through))
        # What a device still has to say about the last seconds is waited for, not long.
        looked = track.horizon if track is not NOTHING else now
        if looked < to and now - to < self.patience:
            return max(through, min(looked, to)), False
        return to, True
