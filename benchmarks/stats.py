"""Ratios of times measured side by side, with what chance leaves open."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

_RESAMPLES = 5_000


@dataclass(frozen=True, slots=True)
class Ratio:
    """The ratio of two medians, from interleaved pairs."""

    ratio: float
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the 95 % interval."""
    pairs: int
    ours: float
    """Our median, in the unit of what was measured."""
    reference: float
    """The reference's median, in the same unit."""

    def __str__(self) -> str:
        return (
            f"{self.ratio:.3f} (95 % interval {self.low:.3f} to {self.high:.3f},"
            f" {self.pairs} pairs; medians {self.ours:.4g} and {self.reference:.4g})"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the ratio as plain data."""
        return asdict(self)


def interleave(
    ours: Callable[[], float], reference: Callable[[], float], *, pairs: int = 30, warm_up: int = 2
) -> tuple[list[float], list[float]]:
    """Measure the two in turn, which of them goes first changing from pair to pair.

    Each callable returns what one go cost. What slows the machine for a while slows both alike.
    """
    for _ in range(warm_up):
        ours()
        reference()
    mine, theirs = [], []
    for pair in range(pairs):
        if pair % 2:
            mine.append(ours())
            theirs.append(reference())
        else:
            theirs.append(reference())
            mine.append(ours())
    return mine, theirs


def ratio_of_medians(ours: Sequence[float], reference: Sequence[float], *, seed: int = 0) -> Ratio:
    """Return the ratio of medians of paired measurements, with its 95 % bootstrap interval.

    Whole pairs are drawn again, so that what the two of a pair have in common stays together.

    Raises:
        ValueError: The two differ in length, or are empty.
    """
    if len(ours) != len(reference) or not ours:
        raise ValueError("a ratio needs as many measurements of one as of the other")
    # The draws need to be the same at every run, not unpredictable.
    draw = random.Random(seed)  # noqa: S311
    count = len(ours)
    ratios = []
    for _ in range(_RESAMPLES):
        chosen = draw.choices(range(count), k=count)
        ratios.append(median(ours[i] for i in chosen) / median(reference[i] for i in chosen))
    ratios.sort()
    return Ratio(
        ratio=median(ours) / median(reference),
        low=ratios[int(0.025 * _RESAMPLES)],
        high=ratios[int(0.975 * _RESAMPLES) - 1],
        pairs=count,
        ours=median(ours),
        reference=median(reference),
    )
