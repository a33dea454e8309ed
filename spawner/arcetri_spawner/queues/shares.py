"""How each flavour is shared out between groups, and where more is promised than there is. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from arcetri_spawner.catalog.models import Catalog, Flavor, GroupFlavor
from arcetri_spawner.policy.index import index_of
from arcetri_spawner.policy.terms import Terms
from arcetri_spawner.queues.farm import Farm
from arcetri_spawner.queues.promises import rests, shortages, together
from kueue_client.quantity import Quantity
from kueue_client.queues import ResourceQuota

Grants = Mapping[str, Mapping[str, GroupFlavor]]
"""What each group is entitled to, by its path."""
PODS: Final = "pods"
UNBOUNDED: Final = {
    "cpu": Quantity("1M"),
    "memory": Quantity("1Ei"),
    "ephemeral-storage": Quantity("1Ei"),
    PODS: Quantity("1M"),
}
"""More than any farm has: the nodes are the bound."""
_NAMED: Final = 4
"""Quotas that are named, of those of which some must be lowered; there can be hundreds."""


def counted_by(flavor: Flavor) -> str:
    """The resource by which a flavour's sessions are counted."""
    return flavor.resource or PODS


@dataclass(frozen=True, slots=True)
class Promise:
    """More than there is, promised of a flavour, or of several that share devices.

    Attributes:
        quotas: By flavour, what its groups were promised together.
        capacity: What there is of all of them together.
        what: What they share: a resource, or nothing for nodes without one.
        entries: The quotas, as (their place in the catalog, how many).
    """

    quotas: Mapping[str, int]
    capacity: int
    what: str = ""
    entries: tuple[tuple[str, int], ...] = ()

    @property
    def flavors(self) -> tuple[str, ...]:
        """Which flavours."""
        return tuple(self.quotas)

    @property
    def total(self) -> int:
        """How many are promised."""
        return sum(self.quotas.values())

    @property
    def sentence(self) -> str:
        """It in words."""
        has = f"quotas of {self.total} in all{{}}, and the farm has {self.capacity}."
        if len(self.quotas) == 1:
            return f"{self.flavors[0]}: {has.format('')}"
        each = ", ".join(f"{name} {number}" for name, number in self.quotas.items())
        return f"{_listed(self.flavors)} share {self.what or 'nodes'}: {has.format(f' ({each})')}"

    @property
    def remedy(self) -> str:
        """What to edit."""
        ordered = sorted(self.entries, key=lambda one: -one[1])
        named = [f"{place} ({number})" for place, number in ordered[:_NAMED]]
        if more := len(ordered) - len(named):
            named.append(f"{more} more")
        return f"Lower {_listed(named, 'or')}: {self.total - self.capacity} fewer in all."


def _listed(words: Sequence[str], last: str = "and") -> str:
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def promises(catalog: Catalog, grants: Grants, farm: Farm) -> tuple[Promise, ...]:
    """Where more is promised than there is, of whatever flavours share devices."""
    quotas = {name: one.quotas for name, one in _terms(catalog).items()}
    return tuple(
        Promise(
            {name: quotas[name] for name in one.flavors},
            one.there,
            catalog.flavors[one.flavors[0]].resource or "",
            tuple(
                (f"groups.{group}.flavors.{name}.quota", held[name].quota or 0)
                for name in one.flavors
                for group, held in grants.items()
                if name in held and held[name].quota
            ),
        )
        for one in shortages(quotas, farm.pools)
    )


def _terms(catalog: Catalog) -> dict[str, Terms]:
    """On what terms each flavour is had that somebody has, in the catalog's order."""
    return {name: one for name, one in index_of(catalog).terms.items() if one.granted}


@dataclass(frozen=True, slots=True)
class Shares:
    """How a flavour is shared out.

    Attributes:
        flavor: Which.
        rest: What is left for it beside the quotas of all flavours that share its devices.
        free: Groups without a quota.
        borrowed: Whether anybody may borrow it.
        counted: Whether anybody has a quota, of it or of a flavour that shares its devices.
        beside: The flavours that share what is left with it, itself among them.
    """

    flavor: str
    rest: int
    free: tuple[str, ...]
    borrowed: bool
    counted: bool
    beside: tuple[str, ...] = ()

    @property
    def pooled(self) -> int:
        """What belongs to no group, for whoever may borrow."""
        if not self.counted or len(self.free) == 1:
            return 0
        return self.rest if self.borrowed or self.free else 0

    def quota(self, resource: str, entitled: GroupFlavor) -> ResourceQuota:
        """What one group has of it."""
        lend = None if self.borrowed else Quantity(0)
        if entitled.quota is not None:
            own, borrow = Quantity(entitled.quota), Quantity(entitled.borrow)
        elif not self.counted:
            own, borrow, lend = UNBOUNDED[PODS], Quantity(0), Quantity(0)
        elif len(self.free) == 1:
            own, borrow = Quantity(self.rest), Quantity(0)
        else:
            own, borrow = Quantity(0), Quantity(self.rest)
        made = ResourceQuota(name=resource, nominal_quota=own, borrowing_limit=borrow)
        if lend is not None:
            made.lending_limit = lend
        return made

    def notices(self) -> Iterator[str]:
        """What is not obvious about it."""
        if not self.counted:
            return
        if len(self.free) > 1:
            who = ", ".join(self.free)
            yield (
                f"{self.flavor}: {who} have no quota beside groups that have one. They share what"
                f" is left ({self.rest}), and Kueue may take back from who has more of it; give"
                " each a quota if it must not."
            )
        if len(self.beside) > 1:
            others = _listed([one for one in self.beside if one != self.flavor])
            yield (
                f"{self.flavor}: {self.rest} is its part of what is left beside all quotas."
                f" It shares devices with {others}, and Kueue counts each flavour by itself."
            )


def shared_out(catalog: Catalog, farm: Farm) -> dict[str, Shares]:
    """How every flavour that somebody has is shared out, in the catalog's order."""
    terms = _terms(catalog)
    quotas = {name: one.quotas for name, one in terms.items()}
    parts = {name: part for part in together(list(terms), farm.pools) for name in part}
    counted = {name: any(terms[one].counted for one in part) for name, part in parts.items()}
    takers = [
        name for name, one in terms.items() if counted[name] and (one.unbounded or one.borrowed)
    ]
    left = rests(quotas, takers, farm.pools)
    beside = {name: part for part in together(takers, farm.pools) for name in part}
    return {
        name: Shares(
            name,
            left.get(name, 0),
            one.unbounded,
            one.borrowed,
            counted[name],
            beside.get(name, ()),
        )
        for name, one in terms.items()
    }
