"""Sessions as people know them: what belongs to one, whichever way it is recorded. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from arcetri_accounting.reports.hints import Observed
from arcetri_accounting.reports.numbers import Amounts, Entry, Sums
from arcetri_accounting.reports.periods import Period
from arcetri_accounting.reports.queries import Held, Who


@dataclass(frozen=True, slots=True)
class SessionLine:
    """One session, and what it used within a period."""

    session: str
    site: str
    who: Who
    parts: tuple[Held, ...]
    """Its allocations: one a device, and one more where part of it was reconciled."""
    amounts: Amounts
    """Within the period; what runs is beside it, provisional."""
    mem_peak: int | None

    @property
    def group(self) -> str:
        """What it was charged to."""
        return self.parts[0].group

    @property
    def flavors(self) -> list[str]:
        """Its flavours, nearly always one."""
        return list(dict.fromkeys(part.flavor for part in self.parts))

    @property
    def flavor_type(self) -> str:
        """gpu, fpga or cpu."""
        return self.parts[0].flavor_type

    @property
    def kind(self) -> str:
        """Notebook or batch."""
        return self.parts[0].kind

    @property
    def simulated(self) -> bool:
        """True where no real device stood behind it."""
        return any(part.simulated for part in self.parts)

    @property
    def provenances(self) -> list[str]:
        """Where it is known from."""
        return sorted({part.provenance for part in self.parts})

    @property
    def running(self) -> bool:
        """Its agent still tells of it."""
        return any(part.tail is not None for part in self.parts)

    @property
    def started(self) -> int:
        """When it began, in milliseconds since 1970, as far as known."""
        return min(min(part.first, _tail_start(part)) for part in self.parts)

    @property
    def until(self) -> int:
        """When it ended, or up to when it is known to have run."""
        return max(max(part.last, _tail_end(part)) for part in self.parts)

    @property
    def observed(self) -> Sums:
        """Of its GPUs, with what runs: for a list, not for a total."""
        return self.amounts.so_far


def _tail_start(part: Held) -> int:
    return part.tail.t0 if part.tail else part.first


def _tail_end(part: Held) -> int:
    return part.tail.t0 + part.tail.dur_ms if part.tail else part.last


def lines(held: Iterable[Held], period: Period) -> list[SessionLine]:
    """Fold allocations into sessions, in the order in which each first comes."""
    together: dict[tuple[str, int], list[Held]] = {}
    for one in held:
        together.setdefault((one.session, one.who.id), []).append(one)
    return [_line(parts, period) for parts in together.values()]


def _line(parts: list[Held], period: Period) -> SessionLine:
    amounts = Amounts()
    peaks = []
    for part in parts:
        entry = Entry("", part.flavor_type, part.provenance, part.sums)
        amounts = amounts.plus(entry)
        peaks.append(part.mem_peak)
        if part.tail is not None:
            tail = Entry("", part.flavor_type, part.provenance, part.tail.within(period))
            amounts = amounts.with_running(tail)
            peaks.append(part.tail.mem_peak)
    known = [peak for peak in peaks if peak is not None]
    first = parts[0]
    return SessionLine(
        session=first.session,
        site=first.site,
        who=first.who,
        parts=tuple(parts),
        amounts=amounts,
        mem_peak=max(known, default=None),
    )


def observed(found: Iterable[SessionLine], *, names: bool) -> list[Observed]:
    """What hints are made from: the sessions on GPUs, with what runs."""
    return [
        Observed(
            session=line.session,
            person=line.who.label(names=names),
            group=line.group,
            flavor=line.parts[0].flavor,
            model=line.parts[0].model,
            share_u=line.parts[0].share_u,
            simulated=line.simulated,
            started=line.started,
            sums=line.observed,
            mem_peak=line.mem_peak,
        )
        for line in found
        if line.flavor_type == "gpu"
    ]
