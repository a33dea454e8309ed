"""What is known of how long sessions last, by flavour and group."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from arcetri_spawner.estimates.hazard import Counts, Rhythm, exposure, hazard, rhythm
from arcetri_spawner.estimates.situation import PastSession, RunningSession

HALF_LIFE: Final = timedelta(days=14)
"""A session this long ago counts half of one that began now: habits change."""
_LATELY: Final = timedelta(days=3)
"""The same, for what has changed lately."""
_DRIFT_WEIGHT: Final = 12.0
"""So many ends say beforehand that nothing has changed."""
_OTHER_GROUPS: Final = 15.0
"""All sessions of the flavour's other groups together count as so many of the group's own."""
_OTHER_FLAVORS: Final = 5.0
"""All sessions of other flavours of the type count as so many."""
LEAST: Final = 8
"""So many sessions of the flavour that ended, whatever the group, are enough to say something."""
LEAST_OF_TYPE: Final = 50
"""So many of other flavours of the type are, where there are fewer of the flavour's own."""


@dataclass(frozen=True, slots=True)
class Law:
    """How long sessions of one flavour and group last."""

    rates: tuple[float, ...]
    """Ends a second, by bin of age."""
    rhythm: Rhythm
    sessions: int
    """On how many that ended it rests: all of the flavour, whatever the group, and where these are
    fewer than ``LEAST``, those of other flavours too."""
    weight: float
    """As how many sessions of the group's own, of now, they count."""


_Key = tuple[str, str, str]
"""Type, flavour and group."""


class Lengths:
    """Sessions as far as they are known; ``Laws`` are made from them.

    Args:
        zone: The site's, for the hour of the day.
    """

    def __init__(self, zone: tzinfo = UTC) -> None:
        self._long = _Fading(HALF_LIFE, zone)
        self._lately = _Fading(_LATELY, zone)

    def add(self, sessions: Iterable[PastSession]) -> None:
        """Count sessions that are over."""
        for one in sessions:
            for kept in (self._long, self._lately):
                kept.add(one, one.lasted, end=one.natural)

    def laws(self, running: Collection[RunningSession], now: datetime) -> Laws:
        """Make laws from all that is known now.

        Args:
            running: All sessions that run: each says that it has lasted so long already. To leave
                them out would make sessions look shorter than they are.
            now: The moment; ages are counted from here.
        """
        return Laws(self._long.at(running, now), self._lately.at(running, now))


class _Fading:
    """Counts in which a session weighs the less the longer ago it began."""

    def __init__(self, half_life: timedelta, zone: tzinfo) -> None:
        self._half_life = half_life
        self._zone = zone
        self._counts: dict[_Key, Counts] = defaultdict(Counts)
        self._origin: datetime | None = None

    def add(self, one: PastSession | RunningSession, lasted: timedelta, *, end: bool) -> None:
        self._add(self._counts, one, lasted, end=end)

    def at(self, running: Iterable[RunningSession], now: datetime) -> dict[_Key, Counts]:
        """All counts, with those that run, in which a session that began now weighs 1."""
        still: dict[_Key, Counts] = defaultdict(Counts)
        for one in running:
            self._add(still, one, now - one.began, end=False)
        unit = 1 / self._weight(now)
        nothing = Counts()
        return {
            key: Counts()
            .plus(self._counts.get(key, nothing), unit)
            .plus(still.get(key, nothing), unit)
            for key in {*self._counts, *still}
        }

    def _add(
        self,
        counts: dict[_Key, Counts],
        one: PastSession | RunningSession,
        lasted: timedelta,
        *,
        end: bool,
    ) -> None:
        counts[(one.flavor_type, one.flavor, one.group)].add(
            one.began.timestamp(),
            max(lasted.total_seconds(), 1.0),
            (one.began.astimezone(self._zone).utcoffset() or timedelta()).total_seconds(),
            weight=self._weight(one.began),
            end=end,
        )

    def _weight(self, began: datetime) -> float:
        """Grows with the moment: only ratios of weights matter, and old ones need no change."""
        self._origin = self._origin or began
        return math.exp2((began - self._origin) / self._half_life)


class Laws:
    """The laws of all flavours and groups, each made when it is first asked for."""

    def __init__(self, counts: dict[_Key, Counts], lately: dict[_Key, Counts]) -> None:
        """Take sums in which a session that began now weighs 1.

        Args:
            counts: Of all that is known.
            lately: In which what was some days ago counts little.
        """
        self._counts = counts
        self._lately = lately
        self._rhythms: dict[str, Rhythm] = {}
        self._known: dict[tuple[str, str], Law | None] = {}

    def of(self, flavor_type: str, flavor: str, group: str) -> Law | None:
        """How long such sessions last; None where too little is known of the flavour."""
        key = (flavor, group)
        if key not in self._known:
            self._known[key] = self._make(flavor_type, flavor, group)
        return self._known[key]

    def _make(self, flavor_type: str, flavor: str, group: str) -> Law | None:
        own, groups, flavors = Counts(), Counts(), Counts()
        for (its_type, its_flavor, its_group), counts in self._counts.items():
            if its_type == flavor_type:
                if its_flavor != flavor:
                    flavors = flavors.plus(counts)
                elif its_group != group:
                    groups = groups.plus(counts)
                else:
                    own = own.plus(counts)
        sessions = own.sessions + groups.sessions
        if sessions < LEAST:
            if sessions + flavors.sessions < LEAST_OF_TYPE:
                return None
            sessions += flavors.sessions
        if flavor_type not in self._rhythms:
            whole = own.plus(groups).plus(flavors)
            self._rhythms[flavor_type] = rhythm(whole)
        hours = rhythm(own, self._rhythms[flavor_type])
        mixed = own.plus(groups, _share(groups, _OTHER_GROUPS))
        mixed = mixed.plus(flavors, _share(flavors, _OTHER_FLAVORS))
        rates = hazard(mixed.ends, exposure(mixed, hours))
        drift = self._drift((flavor_type, flavor, group), rates, hours)
        return Law(tuple(rate * drift for rate in rates), hours, sessions, mixed.weight)

    def _drift(self, key: _Key, rates: Sequence[float], hours: Rhythm) -> float:
        """By how much more readily sessions ended lately than these rates say.

        Habits change: with an exam session, a deadline, a new group. That is seen in the sum of all
        ends long before it is seen bin by bin.
        """
        lately = self._lately.get(key)
        if lately is None:
            return 1.0
        expected = sum(
            rate * time for rate, time in zip(rates, exposure(lately, hours), strict=True)
        )
        return (lately.weight + _DRIFT_WEIGHT) / (expected + _DRIFT_WEIGHT)


def _share(others: Counts, most: float) -> float:
    """What each of others counts, so that all together count as ``most`` of the group's own."""
    return min(1.0, most / others.weight) if others.weight else 1.0
