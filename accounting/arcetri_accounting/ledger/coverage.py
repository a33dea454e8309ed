"""What the witness saw of a session against what agents counted. Pure.

Time is counted on the clock since boot of the session's start, in milliseconds: it never steps.
What happened in another boot is placed by the wall clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Final

from arcetri_accounting.ledger.intervals import Range, Ranges, subtract, union

TOLERANCE_MS: Final = 1000
"""Two clocks that differ by no more than this agree."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A session from its start to its end, as the witness saw it."""

    started_at: int
    started_boot: str
    started_b: int
    ended_at: int
    ended_boot: str
    ended_b: int
    end_is_estimate: bool
    devices: tuple[str, ...]
    """Of the grant; one empty name for a session without accelerator, or whose device the witness
    does not know."""
    devices_known: bool = True

    def on_boot_clock(self, boot: str, b: int, at: int) -> int:
        """A moment on the clock of the session's start."""
        return b if boot == self.started_boot else self.started_b + at - self.started_at

    def on_wall_clock(self, b: int) -> int:
        """The same moment in milliseconds since 1970."""
        return self.started_at + b - self.started_b

    @property
    def end(self) -> int:
        """The end on the clock of the start."""
        return self.on_boot_clock(self.ended_boot, self.ended_b, self.ended_at)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be closed, and what is to be shown."""

    missing: dict[str, Ranges]
    """By device, on the clock of the start."""
    discrepancies: dict[str, tuple[str, str]]
    """By code: what the agent says, and what the witness says."""


@dataclass(frozen=True, slots=True)
class Granted:
    """What a session was granted, as one source tells it; every part is compared by itself."""

    account: str
    group: str
    flavor: str
    share: str
    """Of a device, such as 1/7."""
    kind: str


def differences(told: Iterable[Granted], witnessed: Granted) -> dict[str, tuple[str, str]]:
    """Where agents and the witness were told of another grant.

    Args:
        told: What the agent says of each of the session's devices.
        witnessed: What the witness says of the session.

    Returns:
        By code, what the agent says (several where its devices differ) and what the witness says.
    """
    known = list(told)
    found = {}
    for code in (field.name for field in fields(Granted)):
        agent = sorted({getattr(one, code) for one in known})
        witness = getattr(witnessed, code)
        if agent not in ([], [witness]):
            found[code] = (", ".join(agent), witness)
    return found


def compare(
    seen: Seen, covered: Mapping[str, Iterable[Range]], *, watched: bool, one_clock: bool = False
) -> Verdict:
    """Find what no agent counted, and where the two disagree.

    Args:
        seen: The session.
        covered: What agents counted by device, on the clock of the start.
        watched: Whether the agent was at work when its count of the session ended: what it then
            did not count it says was not there.
        one_clock: Whether everything was stamped by one clock since one boot, as in a journal that
            both follow: then even a millisecond that is missing at an edge was counted by nobody.
    """
    agent = {device: ranges for device, raw in covered.items() if (ranges := union(raw))}
    discrepancies: dict[str, tuple[str, str]] = {}
    paired = _paired(seen, agent, discrepancies)
    first = min((ranges[0][0] for ranges in agent.values()), default=seen.started_b)
    last = max((ranges[-1][1] for ranges in agent.values()), default=seen.end)
    # An end that was found later only says that the session had ended by then.
    end = last if agent and seen.end_is_estimate else seen.end
    if seen.started_b - first > TOLERANCE_MS:
        discrepancies["start"] = (
            f"began {_ms(seen.started_b - first)} earlier",
            f"began at {seen.started_at}",
        )
    differs = last - end
    if differs > TOLERANCE_MS or (watched and agent and -differs > TOLERANCE_MS):
        way = "later" if differs > 0 else "earlier"
        discrepancies["end"] = (f"ended {_ms(abs(differs))} {way}", f"ended at {seen.ended_at}")
    missing = {}
    for device in seen.devices:
        ranges = agent.get(paired[device], ())
        gaps = subtract(union([(seen.started_b, end)]), ranges)
        if ranges and not one_clock:
            gaps = _without_slivers(gaps, ranges)
        if gaps:
            missing[device] = gaps
    return Verdict(missing, discrepancies)


def _paired(
    seen: Seen,
    agent: Mapping[str, Ranges],
    discrepancies: dict[str, tuple[str, str]],
) -> dict[str, str]:
    """Which of the agent's devices stands for which of the grant's: time is not counted twice."""
    devices = seen.devices
    others = sorted(agent.keys() - set(devices))
    unseen = [device for device in devices if device not in agent]
    if others and seen.devices_known:
        discrepancies["device"] = (
            f"used {', '.join(one or 'no device' for one in sorted(agent))}",
            f"was given {', '.join(one or 'no device' for one in devices)}",
        )
    stand_ins = dict(zip(unseen, others, strict=False))
    return {device: stand_ins.get(device, device) for device in devices}


def _without_slivers(gaps: Ranges, ranges: Ranges) -> Ranges:
    """Leave out what lies at the edges and is within the tolerance of two clocks."""
    first, last = ranges[0][0], ranges[-1][1]
    return tuple(
        (begin, end)
        for begin, end in gaps
        if end - begin > TOLERANCE_MS or (begin >= first and end <= last)
    )


def _ms(duration: int) -> str:
    return f"{duration / 1000:.3f} s"
