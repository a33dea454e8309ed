"""Catalogs, people, farms and sessions of every kind, small enough to meet each other often.

A case is made from a seed, not drawn piece by piece: most of it is in order and any part may be in
trouble, so that grants and every refusal are all common.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from random import Random
from typing import Any, Final

from hypothesis import strategies as st

from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.groups import EVERYONE, GroupPath
from arcetri_spawner.policy.model import (
    Identity,
    Inventory,
    LiveSession,
    Options,
    QueueBound,
    Standing,
)
from arcetri_spawner.policy.queueing import closed
from tests.support.builders import NOW, catalog, identity, inventory, live_session, section

FLAVORS: Final = ("t4", "rtx", "a100-1g", "cpu")
ENVIRONMENTS: Final = ("python", "torch")
SIZES: Final = ("small", "large")
GROUPS: Final = ("/lab/cms", "/lab/astro", "/lab", "/lab/cms/sub", "/lab/cmsx")
STRANGE_GROUPS: Final = ("/other", "/LAB/cms", "/lab/admins", "/lab/guests")
_CHARGED: Final = (*GROUPS, EVERYONE)
_UNTIL: Final = (None, date(2026, 11, 23), date(2026, 11, 24), NOW, NOW + timedelta(hours=1))


@dataclass(frozen=True)
class Case:
    """Everything policy looks at."""

    catalog: Catalog
    identity: Identity
    inventory: Inventory
    sessions: tuple[LiveSession, ...]
    options: Options
    server_name: str = ""
    now: datetime = NOW


class _Maker:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311 - nothing secret
        self.queues = Random(-seed - 1)  # noqa: S311 - nothing secret

    def case(self) -> Case:
        made = self._catalog()
        options = self._options()
        count = self.random.choice([0, 0, 0, 1, 2, 4])
        return Case(
            catalog=made,
            identity=self._identity(),
            inventory=self._inventory(),
            sessions=tuple(self._session(options) for _ in range(count)),
            options=options,
            server_name=self._mostly("new", "", "lab", "../up"),
        )

    def _rarely(self, one_in: int = 10) -> bool:
        return self.random.randrange(one_in) == 0

    def _mostly(self, usual: Any, *others: Any) -> Any:
        return self.random.choice(others) if self._rarely(7) else usual

    def _some(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(self.random.sample(names, self.random.randint(0, len(names))))

    def _catalog(self) -> Catalog:
        flavors = section("flavors")
        for name in flavors:
            if self._rarely(6):
                maintenance = {"until": self.random.choice(_UNTIL), "message": "new firmware."}
                flavors[name] = {**flavors[name], "maintenance": maintenance}
        everyone = {"flavors": self._some(FLAVORS), "volumes": self._some(("home", "cms-data"))}
        return catalog(
            site={
                "timezone": self.random.choice(["UTC", "Europe/Rome", "Pacific/Auckland"]),
                "admins": ("/lab/admins",),
                "members": self.random.choice([(), ("/lab/guests",)]),
            },
            limits={
                "sessions": self.random.choice([1, 2, 4]),
                "requests": self.random.choice([1, 3, 5]),
            },
            everyone=everyone,
            flavors=flavors,
            environments=self._fitting("environments"),
            sizes=self._fitting("sizes"),
            groups={group: self._group() for group in self._mostly(GROUPS, (), GROUPS[:2])},
        )

    def _fitting(self, name: str) -> dict[str, Any]:
        return {
            key: {**entry, "flavors": self._some(FLAVORS) if self._rarely(3) else None}
            for key, entry in section(name).items()
        }

    def _group(self) -> dict[str, Any]:
        flavors = {}
        for name in self._mostly(FLAVORS, self._some(FLAVORS)):
            entitled: dict[str, Any] = {"quota": self._mostly(None, 0, 1, 2, 3)}
            if self._rarely(2):
                entitled |= {"limit": self.random.randint(1, 2), "borrow": 1}
            flavors[name] = entitled
        return {"flavors": flavors, "volumes": self._some(("cms-data", "astro-data"))}

    def _identity(self) -> Identity:
        groups = self._mostly(self._some(GROUPS[:2]) + GROUPS[2:], (), self._some(STRANGE_GROUPS))
        standing = self._mostly(Standing.ADMITTED, *Standing)
        return identity(*groups, name=self._mostly("alice", "bob", "alice/.."), standing=standing)

    def _inventory(self) -> Inventory:
        flavors: dict[str, int | tuple[int, int]] = {}
        for name in FLAVORS:
            total = self._mostly(self.random.randint(1, 3), 0)
            flavors[name] = (self._mostly(total, *range(total + 1)), total)
        if self._rarely():
            del flavors[self.random.choice(FLAVORS)]
        environments = self._mostly(None, self._some(ENVIRONMENTS))
        found = inventory(flavors, stale=self._rarely(20), environments=environments)
        rooms = {
            name: replace(have, rooms=self._mostly({}, *self._rooms(have.free)))
            for name, have in found.flavors.items()
        }
        return replace(found, flavors=rooms, queued=self._queued())

    def _queued(self) -> dict[tuple[GroupPath, str], QueueBound]:
        if self.queues.randrange(4):
            return {}
        return {
            (GroupPath(group), flavor): QueueBound(
                self.queues.choice([0, 1, 1]), closed(GroupPath(group))
            )
            for group in _CHARGED
            for flavor in FLAVORS
            if self.queues.randrange(2)
        }

    def _rooms(self, free: int) -> list[dict[str, int]]:
        return [
            {"small": small, "large": large} for small in range(free + 1) for large in {0, small}
        ]

    def _session(self, options: Options) -> LiveSession:
        alike = self._rarely(2)
        return live_session(
            options.flavor if alike and options.flavor else self.random.choice(FLAVORS),
            options.group if alike and options.group else self.random.choice(_CHARGED),
            name=self.random.choice(["alice", "bob", "carol"]),
            server_name=self.random.choice(["", "lab", "second"]),
            running=self.random.random() < 0.5,
            waiting=self._rarely(4),
        )

    def _options(self) -> Options:
        groups = [GroupPath(group) for group in (*_CHARGED, *STRANGE_GROUPS)]
        return Options(
            flavor=self._mostly(self.random.choice(FLAVORS), None, "no-such"),
            group=None if self._rarely(4) else self.random.choice(groups),
            environment=self.random.choice([None, *ENVIRONMENTS, "no-such"]),
            size=self._mostly(None, *SIZES, "no-such"),
        )


def case_of(seed: int) -> Case:
    """The case of a seed; the same each time."""
    return _Maker(seed).case()


cases = st.integers(min_value=0, max_value=2**32).map(case_of)
"""Whole situations, each with a choice."""
