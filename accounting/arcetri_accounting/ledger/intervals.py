"""Sets of integers as ranges: numbers received, and time covered. Pure.

A set is a tuple of half-open ranges ``(begin, end)``, in order, none empty, none touching another.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

Range = tuple[int, int]
Ranges = tuple[Range, ...]


def union(ranges: Iterable[Range]) -> Ranges:
    """The set of everything in any of the ranges, which may overlap and be empty."""
    found: list[Range] = []
    for begin, end in sorted(ranges):
        if begin >= end:
            continue
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return tuple(found)


def numbers(values: Iterable[int]) -> Ranges:
    """The set of these numbers."""
    return union((value, value + 1) for value in values)


def subtract(whole: Ranges, taken: Ranges) -> Ranges:
    """The part of a set that is not in another."""
    found: list[Range] = []
    place = 0
    for begin, end in whole:
        while place < len(taken) and taken[place][1] <= begin:
            place += 1
        look = place
        while look < len(taken) and taken[look][0] < end:
            if begin < taken[look][0]:
                found.append((begin, taken[look][0]))
            begin = max(begin, taken[look][1])
            look += 1
        if begin < end:
            found.append((begin, end))
    return tuple(found)


def intersect(one: Ranges, other: Ranges) -> Ranges:
    """What is in both sets."""
    return subtract(one, subtract(one, other))


def contains(ranges: Ranges, value: int) -> bool:
    """Whether a number is in the set."""
    place = bisect_right(ranges, value, key=lambda one: one[0]) - 1
    return place >= 0 and value < ranges[place][1]


def size(ranges: Ranges) -> int:
    """How many numbers are in the set."""
    return sum(end - begin for begin, end in ranges)
