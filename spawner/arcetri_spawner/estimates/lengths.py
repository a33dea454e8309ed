"""What is known of how long sessions last, by flavour and group."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from arcetri_spawner.estimates.hazard import Counts, Rhythm, exposure, hazard, rhythm
from arcetri_spawner.estimates.situation import PastSession, RunningSession

HALF_LIFE: Final = timedelta(days=21)
"""A session this long ago counts half of one that began now: habits change."""
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
    effective: float
    """What they are worth, weighted by age and likeness."""


class Lengths:
    """Sessions as far as they are known; ``Laws`` are made from them.

    Args:
        zone: The site's, for the hour of the day.
    """

    def __init__(self, zone: tzinfo = UTC) -> None:
        self._zone = zone
        self._counts: dict[tuple[str, str, str], Counts] = defaultdict(Counts)
        self._origin: datetime | None = None

    def add(self, sessions: Iterable[PastSession]) -> None:
        """Count sessions that are over."""
        for one in sessions:
            self._add(self._counts, one, one.lasted, end=one.natural)

    def laws(self, running: Iterable[RunningSession], now: datetime) -> Laws:
        """Make laws from all that is known now.

        Args:
            running: All sessions that run: each says that it has lasted so long already. To leave
                them out would make sessions look shorter than they are.
            now: The moment; ages are counted from here.
        """
        still: dict[tuple[str, str, str], Counts] = defaultdict(Counts)
        for one in running:
            self._add(still, one, now - one.began, end=False)
        unit = 1 / self._weight(now)
        nothing = Counts()
        return Laws(
            {
                key: Counts()
                .plus(self._counts.get(key, nothing), unit)
                .plus(still.get(key, nothing), unit)
                for key in {*self._counts, *still}
            }
        )

    def _add(
        self,
        counts: dict[tuple[str, str, str], Counts],
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
        return math.exp2((began - self._origin) / HALF_LIFE)


class Laws:
    """The laws of all flavours and groups, each made when it is first asked for."""

    def __init__(self, counts: dict[tuple[str, str, str], Counts]) -> None:
        """Take sums by type, flavour and group, in which a session that began now weighs 1."""
        self._counts = counts
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
        return Law(rates, hours, sessions, mixed.effective)


def _share(others: Counts, most: float) -> float:
    """What each of others counts, so that all together count as ``most`` of the group's own."""
    return min(1.0, most / others.weight) if others.weight else 1.0
