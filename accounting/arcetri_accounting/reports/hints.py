"""Sessions that held a device unused, and what a smaller one would have done; with evidence. Pure.

A hint is said only where it was observed: unobserved time is never taken for idle time, and a
session whose memory was never read never speaks for a smaller device.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

from arcetri_accounting.contract.units import UNITS_PER_HOUR, hours, share_units
from arcetri_accounting.contract.witness import FlavorTerms
from arcetri_accounting.reports.numbers import NOTHING, Sums

LOW_USE: Final = Fraction(5, 100)
"""Below this mean utilisation a measured device counts as unused."""
IDLE_HOURS: Final = 2
"""A session is listed when its device lay unused for so many hours, whatever its share."""
MIN_SESSIONS: Final = 3
"""Fewer sessions make no evidence for another flavour."""
HEADROOM: Final = Fraction(9, 10)
"""A peak has to fit into this part of the smaller device's memory."""
BUSY: Final = Fraction(1, 2)
"""A device used more than this on average is not called too large."""

_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Observed:
    """One session on one flavour, as far as a period saw it."""

    session: str
    person: str
    group: str
    flavor: str
    model: str
    share_u: int
    simulated: bool
    started: int
    """In milliseconds since 1970, as far as known."""
    sums: Sums
    mem_peak: int | None


@dataclass(frozen=True, slots=True)
class Idle:
    """A session that held a device without using it."""

    of: Observed
    unused_u: int
    no_process: bool
    """True: no compute process for that long. False: one was there, and hardly used it."""

    @property
    def unused_hours(self) -> Fraction:
        """Hours of the session in which its device lay unused, whatever its share."""
        return Fraction(self.unused_u, UNITS_PER_HOUR) * share_units(Fraction(1)) / self.of.share_u


def idle(sessions: Iterable[Observed]) -> list[Idle]:
    """The sessions that held a device unused for long, the worst first."""
    found = []
    for one in sessions:
        sums = one.sums
        low = sums.used_fraction is not None and sums.used_fraction < LOW_USE
        wasted = sums.measured_unused_u if low else 0
        no_process = sums.unoccupied_u >= wasted
        result = Idle(one, max(sums.unoccupied_u, wasted), no_process)
        if one.share_u and result.unused_hours >= IDLE_HOURS:
            found.append(result)
    return sorted(found, key=lambda one: (-one.unused_u, one.of.session))


Code = Literal["smaller_device", "no_process", "low_utilisation"]


@dataclass(frozen=True, slots=True)
class Hint:
    """Something to try, and what it rests on."""

    code: Code
    person: str
    group: str
    flavor: str
    sentence: str
    sessions: int
    gpu_u: int
    """GPU time of these sessions, in 1/10080 GPU-ms."""
    peak: int | None = None
    """Bytes."""
    suggested: str | None = None
    """A flavour."""


def hints(
    sessions: Iterable[Observed],
    flavors: Mapping[str, FlavorTerms],
    granted: Mapping[str, Collection[str]],
) -> list[Hint]:
    """What a person could do with less of, by flavour and charged group; the largest first.

    Args:
        sessions: What was observed.
        flavors: The catalog's, to find smaller ones in.
        granted: Flavours that each group may start: no other is ever suggested.
    """
    by_use: dict[tuple[str, str, str], list[Observed]] = defaultdict(list)
    for one in sessions:
        by_use[one.person, one.group, one.flavor].append(one)
    found: list[Hint] = []
    for seen in by_use.values():
        hint = (
            _no_process(seen)
            or _smaller(seen, flavors, granted.get(seen[0].group, ()))
            or _low(seen)
        )
        if hint is not None:
            found.append(hint)
    return sorted(found, key=lambda one: (-one.gpu_u, one.person, one.group, one.flavor))


def _sum(seen: Iterable[Observed]) -> Sums:
    result = NOTHING
    for one in seen:
        result = result + one.sums
    return result


def _hint(
    code: Code,
    seen: list[Observed],
    sentence: str,
    *,
    peak: int | None = None,
    suggested: str | None = None,
) -> Hint:
    first = seen[0]
    return Hint(
        code=code,
        person=first.person,
        group=first.group,
        flavor=first.flavor,
        sentence=sentence,
        sessions=len(seen),
        gpu_u=_sum(seen).alloc_u,
        peak=peak,
        suggested=suggested,
    )


def _no_process(seen: list[Observed]) -> Hint | None:
    """Sessions in which no compute process was ever seen, though they were watched."""
    never = [
        one
        for one in seen
        if not one.sums.occupied_u
        and not one.sums.used_u
        and 2 * one.sums.unobserved_u < one.sums.alloc_u
    ]
    if len(never) < MIN_SESSIONS:
        return None
    return _hint(
        "no_process",
        never,
        f"In {len(never)} of {len(seen)} sessions no process used the device"
        f" ({hours(_sum(never).alloc_u):.1f} GPU-hours): a session without accelerator, or one"
        " stopped earlier, would have done.",
    )


def _smaller(
    seen: list[Observed], flavors: Mapping[str, FlavorTerms], granted: Collection[str]
) -> Hint | None:
    peaks = [one.mem_peak for one in seen if one.mem_peak is not None]
    terms = flavors.get(seen[0].flavor)
    sums = _sum(seen)
    busy = sums.used_fraction is not None and sums.used_fraction > BUSY
    if terms is None or len(peaks) < MIN_SESSIONS or not max(peaks) or busy:
        return None
    peak = max(peaks)
    fits = [
        (other.share, other.memory, name)
        for name, other in flavors.items()
        if other.type == "gpu"
        and other.share < terms.share
        and peak <= HEADROOM * other.memory
        and name in granted
    ]
    if not fits:
        return None
    share, memory, name = min(fits)
    rest = len(seen) - len(peaks)
    unread = f"; in {rest} more it could not be read" if rest else ""
    use = sums.used_fraction
    mean = "" if use is None else f", mean utilisation {float(use):.0%} where measured"
    return _hint(
        "smaller_device",
        seen,
        f"Peak memory {size(peak)} in {_sessions(len(peaks))} on {terms.title}{unread}{mean}:"
        f" {flavors[name].title} ({size(memory)}, {share} of a device) would have done.",
        peak=peak,
        suggested=name,
    )


def _low(seen: list[Observed]) -> Hint | None:
    sums = _sum(seen)
    use = sums.used_fraction
    if use is None or use >= LOW_USE or len(seen) < MIN_SESSIONS or sums.util_u < UNITS_PER_HOUR:
        return None
    return _hint(
        "low_utilisation",
        seen,
        f"Mean utilisation {low_percent(use)} over {hours(sums.util_u):.1f} GPU-hours measured in"
        f" {_sessions(len(seen))}: the work waits for something else than the device, such as"
        " reading data or a single CPU core.",
    )


def _sessions(count: int) -> str:
    return f"{count} session" + ("" if count == 1 else "s")


def low_percent(part: Fraction | None) -> str:
    """A part of a whole that is below a limit: in tenths, rounded down, so that it stays below."""
    if part is None:
        return "-"
    tenths = math.floor(part * 1000)
    return "<0.1%" if part and not tenths else f"{tenths / 10:.1f}%"


def size(amount: int) -> str:
    """Bytes for people, in the unit that device memory is sold in."""
    if amount < 1024 * _MIB:
        return f"{amount / _MIB:.0f} MiB"
    return f"{amount / (1024 * _MIB):.3g} GiB"
