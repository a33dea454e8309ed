"""When a session ends without its user's asking: pure arithmetic over what is known of it.

It is idle, it has run for its lifetime, or what it holds is wanted back; whatever is due first
ends it.

Durations are measured on a clock that is never set (``Moment.steady``), because a wall clock that
is stepped would otherwise end everything at once, or nothing for hours. Stamps that a session or
JupyterHub tells are wall time; they only ever say where, between the last look and this one, some
activity was. What holds whatever the clocks do: no session is ended before it was warned, and its
whole grace has passed since on the steady clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum


class EndReason(StrEnum):
    """Why the platform ends a session; the same words as in the lease journal."""

    IDLE = "idle"
    LIFETIME = "lifetime"
    PREEMPTED = "preempted"
    DRAINED = "drained"
    MAINTENANCE = "maintenance"
    RECLAIMED = "reclaimed"


@dataclass(frozen=True, slots=True)
class Moment:
    """One instant on two clocks."""

    wall: datetime
    """Time of day, aware; an administrator or NTP may step it."""
    steady: float
    """Seconds of a monotonic clock."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the session's grant froze."""

    idle: timedelta
    lifetime: timedelta
    grace: timedelta
    """How long a warning stands before the end it announces."""


@dataclass(frozen=True, slots=True)
class Activity:
    """What a session answered when it was asked."""

    last: datetime
    """The latest activity of kernels, terminals and web traffic."""
    busy: bool
    """True while a kernel computes: such a session is never idle."""
    signs: frozenset[str] = frozenset()
    """Everything it told, as opaque words: any change between two answers is activity."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of a session between looks; all times are on the steady clock."""

    born: float
    active: float
    """The latest activity known."""
    looked: float
    """When JupyterHub's stamp was last looked at."""
    heard: float
    """When the session last answered."""
    hub_stamp: datetime | None = None
    signs: frozenset[str] | None = None
    warned_idle: float | None = None
    warned_lifetime: float | None = None
    warned_wanted: float | None = None
    """Since when what it holds is wanted back, whatever for."""


@dataclass(frozen=True, slots=True)
class Warned:
    """An end that is announced."""

    reason: EndReason
    at: datetime
    """When the session ends if nothing changes."""


@dataclass(frozen=True, slots=True)
class Keep:
    """Nothing is due."""


@dataclass(frozen=True, slots=True)
class Warn:
    """Ends are announced; the earliest comes first."""

    ends: tuple[Warned, ...]


@dataclass(frozen=True, slots=True)
class End:
    """The warning has stood its time."""

    reason: EndReason


Verdict = Keep | Warn | End


def meet(now: Moment, started: datetime) -> Memory:
    """Remember a session that is seen for the first time, by this process at least."""
    born = now.steady - _elapsed(started, now, at_most=None)
    return Memory(born=born, active=born, looked=born, heard=born)


def note_hub(memory: Memory, now: Moment, stamp: datetime | None) -> Memory:
    """Take in JupyterHub's own stamp of the session's last activity."""
    if stamp is None or stamp == memory.hub_stamp:
        return replace(memory, looked=now.steady)
    return replace(
        memory,
        active=_latest(memory, now, stamp, since=memory.looked),
        looked=now.steady,
        hub_stamp=stamp,
    )


def note_answer(memory: Memory, now: Moment, activity: Activity) -> Memory:
    """Take in what the session answered."""
    if activity.busy:
        active = now.steady
    elif activity.last > now.wall or activity.signs != memory.signs:
        active = _latest(memory, now, activity.last, since=memory.heard)
    else:
        active = memory.active
    return replace(memory, active=active, heard=now.steady, signs=activity.signs)


def worth_asking(memory: Memory, now: Moment, limits: Limits) -> bool:
    """Whether the session may be idle enough for its answer to matter."""
    return now.steady - memory.active >= _warn_after(limits.idle, limits.grace)


def decide(
    memory: Memory,
    now: Moment,
    limits: Limits,
    *,
    asked: bool,
    wanted: EndReason | None = None,
) -> tuple[Verdict, Memory]:
    """Keep the session, announce its end, or end it.

    Args:
        memory: What is known, with this look's evidence taken in.
        now: The instant of this look.
        limits: The session's own.
        asked: Whether the session answered in this look. One that did not is never idle, and an
            announced idle end is taken back.
        wanted: Why what it holds is wanted back now; None where it is not, which takes back what
            was announced for it. It is announced at once, and due when its grace is over.

    Returns:
        The verdict, and what to remember for the next look.
    """
    warned_idle = memory.warned_idle if asked else None
    idle_due, lifetime_due = None, None
    if asked and worth_asking(memory, now, limits):
        warned_idle = now.steady if warned_idle is None else warned_idle
        idle_due = _due(memory.active, warned_idle, limits.idle, limits.grace)
    else:
        warned_idle = None
    warned_lifetime = memory.warned_lifetime
    if now.steady - memory.born >= _warn_after(limits.lifetime, limits.grace):
        warned_lifetime = now.steady if warned_lifetime is None else warned_lifetime
        lifetime_due = _due(memory.born, warned_lifetime, limits.lifetime, limits.grace)
    warned_wanted = None
    if wanted is not None:
        warned_wanted = now.steady if memory.warned_wanted is None else memory.warned_wanted
    wanted_due = None if warned_wanted is None else warned_wanted + limits.grace.total_seconds()
    kept = replace(
        memory,
        warned_idle=warned_idle,
        warned_lifetime=warned_lifetime,
        warned_wanted=warned_wanted,
    )

    dues = sorted(
        (due, reason)
        for due, reason in (
            (lifetime_due, EndReason.LIFETIME),
            (idle_due, EndReason.IDLE),
            (wanted_due, wanted),
        )
        if due is not None and reason is not None
    )
    if not dues:
        return Keep(), kept
    if dues[0][0] <= now.steady:
        return End(dues[0][1]), kept
    return (
        Warn(
            tuple(
                Warned(reason, now.wall + timedelta(seconds=due - now.steady))
                for due, reason in dues
            )
        ),
        kept,
    )


def next_change(memory: Memory, now: Moment, limits: Limits) -> float | None:
    """Seconds until the verdict changes if nothing happens meanwhile; None when that is unknown."""
    coming = [
        moment - now.steady
        for since, warned, limit in (
            (memory.active, memory.warned_idle, limits.idle),
            (memory.born, memory.warned_lifetime, limits.lifetime),
        )
        if (
            moment := since + _warn_after(limit, limits.grace)
            if warned is None
            else _due(since, warned, limit, limits.grace)
        )
        > now.steady
    ]
    if memory.warned_wanted is not None:
        due = memory.warned_wanted + limits.grace.total_seconds()
        coming += [due - now.steady] if due > now.steady else []
    return min(coming, default=None)


def _warn_after(limit: timedelta, grace: timedelta) -> float:
    """Seconds after which the end is announced: in time for the grace, not before half-way."""
    return max(limit / 2, limit - grace).total_seconds()


def _due(since: float, warned: float, limit: timedelta, grace: timedelta) -> float:
    return max(since + limit.total_seconds(), warned + grace.total_seconds())


def _latest(memory: Memory, now: Moment, stamp: datetime, *, since: float) -> float:
    """Place a stamp on the steady clock, never before ``since``: there was none of it then."""
    return max(memory.active, now.steady - _elapsed(stamp, now, at_most=now.steady - since))


def _elapsed(stamp: datetime, now: Moment, *, at_most: float | None) -> float:
    """Seconds since a wall-clock stamp; one in the future counts as just now."""
    elapsed = max((now.wall - stamp).total_seconds(), 0.0)
    return elapsed if at_most is None else min(elapsed, max(at_most, 0.0))
