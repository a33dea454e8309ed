"""From what NVML counts to spans of time: pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median_low
from typing import Final

from arcetri_accounting.agent.readings import Busy

USUAL_MS: Final = 167
"""How far apart samples are where there is only one to tell: a sixth of a second."""
NEVER_OLDER_MS: Final = 120_000
"""No driver keeps samples for as long."""


def spans(
    samples: Sequence[tuple[int, int]], offset_us: int, now: int, after: int | None
) -> list[Busy]:
    """Samples of utilisation as spans by CLOCK_BOOTTIME.

    Each sample is the mean since the one before it. Where one is missing before, it stands for no
    longer than samples usually do.

    Args:
        samples: Stamps in microseconds of the wall clock, and percent; oldest first.
        offset_us: The wall clock less CLOCK_BOOTTIME, now, in microseconds.
        now: CLOCK_BOOTTIME in milliseconds.
        after: The end of the last span already taken; None where there is none.
    """
    points = [((stamp - offset_us) // 1000, percent) for stamp, percent in samples if stamp]
    if not points:
        return []
    if not now - NEVER_OLDER_MS <= points[-1][0] <= now + 1000:
        # Stamped by a clock that was set meanwhile: the last one is about now.
        shift = now - points[-1][0]
        points = [(at + shift, percent) for at, percent in points]
    gaps = [b[0] - a[0] for a, b in pairwise(points) if b[0] > a[0]]
    usual = median_low(gaps) if gaps else USUAL_MS
    last = after
    found: list[Busy] = []
    for at, percent in points:
        if last is not None and at <= last:
            continue
        begin = at - usual if last is None or at - last > 3 * usual else last
        value = percent * 100
        if found and found[-1][1] == begin and found[-1][2] == value:
            found[-1] = (found[-1][0], at, value)
        else:
            found.append((begin, at, value))
        last = at
    return found


def split(total: int, weights: Sequence[int]) -> list[int]:
    """A quantity by weight, in whole numbers that add up to it exactly."""
    whole = sum(weights)
    parts: list[int] = []
    before = reached = 0
    for weight in weights:
        reached += weight
        upto = total * reached // whole if whole else 0
        parts.append(upto - before)
        before = upto
    return parts


def compute_slices(profile: str) -> int | None:
    """Compute slices of a MIG profile, such as 3 of ``3g.20gb``, 1 of ``1c.3g.20gb``."""
    head = profile.split(".", 1)[0]
    number = head[:-1]
    return int(number) if head[-1:] in ("g", "c") and number.isdigit() else None
