"""Whether all that is promised could be had at the same time, and what is left beside it. Pure.

Flavours may share devices: every T4 is also "any GPU". What is promised of all flavours can be had
at once where for each set of them the promises are no more than the devices that any of the set may
have (Hall's theorem). That is so exactly where they can all be seated, which a maximum flow
from flavours to pools of devices finds; where it cannot, it finds the set (Ford and Fulkerson).
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from arcetri_spawner.queues.farm import Pool


@dataclass(frozen=True, slots=True)
class Shortage:
    """Flavours of which more is promised together than there is.

    Attributes:
        flavors: Which; each shares devices with another of them, where they are several.
        there: How many sessions there is room for, of all of them together.
    """

    flavors: tuple[str, ...]
    there: int


class _Seats:
    """Sessions of flavours in pools; whoever sits makes room for others where they can."""

    def __init__(self, pools: Sequence[Pool]) -> None:
        self._pools = pools
        self._taken: list[dict[str, int]] = [dict.fromkeys(one.rooms, 0) for one in pools]

    def add(self, flavor: str, amount: int) -> int:
        """Seat up to so many more sessions of a flavour, and return how many could be."""
        seated = 0
        while seated < amount:
            steps = self._way(flavor)[1]
            if not steps:
                break
            seated += self._move(steps, amount - seated)
        return seated

    def reached(self, flavor: str) -> set[str]:
        """Who would have to make room for another session of a flavour; itself too."""
        return self._way(flavor)[0]

    def _way(self, flavor: str) -> tuple[set[str], list[tuple[str, int]]]:
        """The flavours that are met on the way to free room, and the way: who moves where."""
        came: dict[str, list[tuple[str, int]]] = {flavor: []}
        line, seen = [flavor], set[int]()
        for who in line:
            for number, pool in enumerate(self._pools):
                taken = self._taken[number]
                if number in seen or taken.get(who, 0) >= pool.rooms.get(who, 0):
                    continue
                seen.add(number)
                way = [*came[who], (who, number)]
                if sum(taken.values()) < pool.size:
                    return set(came), way
                for other, sits in taken.items():
                    if sits and other not in came:
                        came[other] = way
                        line.append(other)
        return set(came), []

    def _move(self, steps: Sequence[tuple[str, int]], most: int) -> int:
        """Move as many as can go the whole way: each makes room for the one before."""
        amount = most
        for place, (who, number) in enumerate(steps):
            amount = min(amount, self._pools[number].rooms[who] - self._taken[number][who])
            if place:
                amount = min(amount, self._taken[steps[place - 1][1]][who])
        last = steps[-1][1]
        amount = min(amount, self._pools[last].size - sum(self._taken[last].values()))
        for place, (who, number) in enumerate(steps):
            self._taken[number][who] += amount
            if place:
                self._taken[steps[place - 1][1]][who] -= amount
        return amount


def shortages(promised: Mapping[str, int], pools: Sequence[Pool]) -> list[Shortage]:
    """Where more is promised than there is: the fewest flavours to which all of it is due.

    Args:
        promised: Sessions by flavour.
        pools: Where they could be.
    """
    seats = _Seats(pools)
    short = [one for one, amount in promised.items() if seats.add(one, amount) < amount]
    due = set[str]().union(*map(seats.reached, short))
    ordered = [one for one in promised if one in due]
    return [Shortage(one, _room(one, pools)) for one in together(ordered, pools)]


def _room(flavors: Sequence[str], pools: Sequence[Pool]) -> int:
    """How many sessions of these flavours there is room for."""
    return sum(min(one.size, sum(one.rooms.get(name, 0) for name in flavors)) for one in pools)


def together(flavors: Sequence[str], pools: Sequence[Pool]) -> list[tuple[str, ...]]:
    """Flavours by whom they share with, directly or through others; alone, who shares nothing."""
    parts = [{one} for one in flavors]
    for pool in pools:
        joined = set[str]().union(*(one for one in parts if one & pool.rooms.keys()))
        parts = [*(one for one in parts if not one & pool.rooms.keys()), *([joined] * bool(joined))]
    found = [tuple(one for one in flavors if one in part) for part in parts]
    return sorted(found, key=lambda part: flavors.index(part[0]))


def rests(
    promised: Mapping[str, int], takers: Sequence[str], pools: Sequence[Pool]
) -> dict[str, int]:
    """What is left for each of some flavours beside all that is promised, of all of them at once.

    What several could have is divided: each gets one more in turn, the first of the catalog first,
    until nobody can get any.

    Args:
        promised: Sessions by flavour; of what cannot be had, what can.
        takers: Who can use what is left.
        pools: Where they could be.
    """
    seats = _Seats(pools)
    had = {one: seats.add(one, amount) for one, amount in promised.items()}
    given, going = dict.fromkeys(takers, 0), list(takers)

    def fits(step: int, *more: str) -> bool:
        seats = _Seats(pools)
        wanted = {**dict.fromkeys(takers, 0), **had}
        for one in takers:
            wanted[one] += given[one] + (step if one in more else 0)
        return all(seats.add(one, amount) == amount for one, amount in wanted.items())

    most = sum(pool.size for pool in pools)
    while going:
        steps = range(1, most + 1)
        step = bisect.bisect_left(steps, True, key=lambda step: not fits(step, *going))
        for one in going:
            given[one] += step
        for one in list(going):
            if fits(1, one):
                given[one] += 1
            else:
                going.remove(one)
    return given
