"""How the whole time of physical devices divides. Pure: no database, no clock.

Of each device and quarter hour, 10080 units times its milliseconds are the whole, and every unit
of it is counted once (``Division``). What agents saw is known to the millisecond, what was
allocated by the quarter hour: it is taken from what could be used first, so that free is never
more than was there for sure.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Final, Literal

from arcetri_accounting.contract.share import SHARE_UNITS
from arcetri_accounting.contract.units import QUARTER_MS, quarters
from arcetri_accounting.ledger.intervals import Ranges, subtract, union

QUARTER_U: Final = SHARE_UNITS * QUARTER_MS
"""The whole of a device in a quarter hour."""

DeviceType = Literal["gpu", "fpga"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What an agent said of a device from ``begin`` to ``end``, in milliseconds since 1970."""

    node: str
    device: str
    parent: str
    weight: int
    """In 1/10080 of its physical device; 0 for a GPU in MIG mode."""
    down: bool
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Doubt:
    """A stretch that an agent says it does not know about, in milliseconds since 1970."""

    node: str
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Held:
    """What was allocated of a device in a quarter hour; several of one add up."""

    device: str
    quarter: int
    alloc_u: int = 0
    share_u: int = SHARE_UNITS
    dur_ms: int = 0
    shared: bool = True
    """Its rest is for others; where not, nobody else can use the rest of it meanwhile."""
    waiting_u: int = 0
    """Held, as an agent said of what still runs, but not final: in no total yet."""


@dataclass(slots=True)
class Division:
    """Parts of a device's whole time, in 1/10080 device-milliseconds; they add up to it."""

    allocated: int = 0
    reserved: int = 0
    """Granted and not yet running: 0 as long as nothing records such a grant."""
    free: int = 0
    stranded: int = 0
    """No instance of the MIG layout has it, or who holds the rest of the device keeps others
    from it."""
    down: int = 0
    unreported: int = 0
    """No agent said anything of it, or one said that it does not know."""
    beyond: int = 0
    """Allocated on top of the whole, as sessions that overlap on one device are: no part of it."""

    @property
    def whole(self) -> int:
        """All of the time."""
        return sum(getattr(self, name) for name in PARTS)

    def add(self, other: Division) -> None:
        """Add another's parts."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))


PARTS: Final = ("allocated", "reserved", "free", "stranded", "down", "unreported")


@dataclass(slots=True)
class _Quarter:
    """One physical device in one quarter hour."""

    seen: list[Seen] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)


def divide(
    seen: Iterable[Seen],
    doubts: Iterable[Doubt],
    held: Iterable[Held],
    parents: Mapping[str, str],
    span: tuple[int, int],
) -> dict[str, Division]:
    """Divide the time of every physical device that anything is known of.

    Args:
        seen: What agents saw of devices.
        doubts: What agents say they do not know: there, what was seen does not count.
        held: What was allocated.
        parents: The physical devices of MIG instances; who is not in it is one.
        span: The first quarter hour that counts, and the first that does not.
    """
    first, after = span
    begin, end = first * QUARTER_MS, after * QUARTER_MS
    unsure = _unsure(doubts)
    found: dict[str, dict[int, _Quarter]] = {}
    for one in seen:
        clipped = union([(max(one.begin, begin), min(one.end, end))])
        there = found.setdefault(one.parent or one.device, {}) if clipped else {}
        for t0, t1 in subtract(clipped, unsure.get(one.node, ())):
            for quarter, q0, q1 in quarters(t0, t1):
                piece = Seen(one.node, one.device, one.parent, one.weight, one.down, q0, q1)
                there.setdefault(quarter, _Quarter()).seen.append(piece)
    for some in held:
        if first <= some.quarter < after:
            there = found.setdefault(parents.get(some.device) or some.device, {})
            there.setdefault(some.quarter, _Quarter()).held.append(some)
    divided = {}
    for device, by_quarter in found.items():
        total = Division(unreported=(after - first - len(by_quarter)) * QUARTER_U)
        for content in by_quarter.values():
            total.add(_divide(device, content))
        divided[device] = total
    return divided


def _unsure(doubts: Iterable[Doubt]) -> dict[str, Ranges]:
    ranges: dict[str, list[tuple[int, int]]] = {}
    for one in doubts:
        ranges.setdefault(one.node, []).append((one.begin, one.end))
    return {node: union(some) for node, some in ranges.items()}


def _divide(device: str, content: _Quarter) -> Division:
    usable: dict[str, int] = {}
    made = Division()
    edges = sorted({edge for one in content.seen for edge in (one.begin, one.end)})
    for begin, end in itertools.pairwise(edges):
        now = [one for one in content.seen if one.begin <= begin and one.end >= end]
        if now:
            _moment(device, now, end - begin, made, usable)
    made.unreported = QUARTER_U - made.down - made.stranded - sum(usable.values())
    weights: dict[str, int] = {}
    for one in content.seen:
        weights[one.device] = max(one.weight, weights.get(one.device, 0))
    _take_allocated(content.held, made, usable)
    for some in content.held:
        # A rest that others may not have is kept from them just as long as it is held.
        rest = (weights.get(some.device, 0) - some.share_u) * some.dur_ms
        if not some.shared:
            made.stranded += _take(usable, some.device, max(0, rest))
        made.unreported += _take(usable, some.device, some.waiting_u)
    made.free = sum(usable.values())
    return made


def _moment(device: str, now: list[Seen], ms: int, made: Division, usable: dict[str, int]) -> None:
    """Count a stretch in which the same was seen all the time."""
    whole = [one for one in now if one.device == device]
    parts = [one for one in now if one.device != device]
    if any(one.down for one in whole):
        made.down += SHARE_UNITS * ms
        return
    if not parts and all(one.weight for one in whole):
        usable[device] = usable.get(device, 0) + SHARE_UNITS * ms
        return
    lost = {one.device for one in parts if one.down}
    # An instance that two clocks place twice is there once.
    weights: dict[str, int] = {}
    for one in parts:
        weights[one.device] = max(one.weight, weights.get(one.device, 0))
    room = SHARE_UNITS
    for name in sorted(weights, key=lambda name: (name not in lost, name)):
        part = min(weights[name], room)
        room -= part
        if name in lost:
            made.down += part * ms
        else:
            usable[name] = usable.get(name, 0) + part * ms
    if whole:
        made.stranded += room * ms


def _take_allocated(held: Iterable[Held], made: Division, usable: dict[str, int]) -> None:
    over = 0
    for one in held:
        taken = _take(usable, one.device, one.alloc_u)
        made.allocated += taken
        over += one.alloc_u - taken
    # A session goes on holding a device that is lost or that nobody looks at.
    for name in ("unreported", "down", "stranded"):
        taken = min(over, getattr(made, name))
        setattr(made, name, getattr(made, name) - taken)
        made.allocated += taken
        over -= taken
    for device in sorted(usable):
        taken = _take(usable, device, over)
        made.allocated += taken
        over -= taken
    made.beyond = over


def _take(usable: dict[str, int], device: str, wanted: int) -> int:
    taken = min(wanted, usable.get(device, 0))
    if taken:
        usable[device] -= taken
    return taken
