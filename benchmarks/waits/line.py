"""A line with known lengths: what a trace is made with, and what an oracle plays forward.

Apart from the estimates' own play, so that a mistake in one of them shows.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Asking:
    """A request that is going to be made; moments are seconds."""

    name: int
    group: str
    asked: float
    patience: float = math.inf
    """Seconds after which it leaves the line."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """When it began; None where it left before."""

    asking: Asking
    begun: float | None


def serve(
    asking: Sequence[Asking],
    places: int,
    quotas: Mapping[str, int],
    length: Callable[[Asking, float], float],
    held: Iterable[tuple[float, str]] = (),
) -> list[Outcome]:
    """Serve requests first come, first served, as far as each one's group's quota allows.

    Args:
        asking: In the order in which they are asked.
        places: How many sessions there is room for.
        quotas: By group; a group without is not bound.
        length: How long a session lasts that begins at a moment.
        held: Ends and groups of sessions that run at the beginning.
    """
    ends = list(held)
    heapq.heapify(ends)
    used = Counter(group for _, group in ends)
    line: list[Asking] = []
    outcomes: list[Outcome] = []

    def admit(now: float) -> None:
        for one in list(line):
            if one.asked + one.patience < now:
                line.remove(one)
                outcomes.append(Outcome(one, None))
        for one in list(line):
            if len(ends) >= places:
                return
            if used[one.group] < quotas.get(one.group, math.inf):
                line.remove(one)
                used[one.group] += 1
                outcomes.append(Outcome(one, now))
                heapq.heappush(ends, (now + length(one, now), one.group))

    def free(until: float) -> None:
        while ends and ends[0][0] <= until:
            now, group = heapq.heappop(ends)
            used[group] -= 1
            admit(now)

    for one in asking:
        free(one.asked)
        line.append(one)
        admit(one.asked)
    free(math.inf)
    outcomes += [Outcome(one, None) for one in line]
    return outcomes
