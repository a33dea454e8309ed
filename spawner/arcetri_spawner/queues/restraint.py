"""What is done while more is promised than there is: all but what would promise more. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from arcetri_spawner.queues.changes import drained
from arcetri_spawner.queues.names import GROUP, Names
from arcetri_spawner.queues.plan import Plan
from arcetri_spawner.queues.shares import PODS, UNBOUNDED, Promise
from kueue_client.base import Object
from kueue_client.quantity import Quantity
from kueue_client.queues import ClusterQueue, ResourceQuota

_NAMED: Final = 4
"""Quotas that are named, of those that are not given; there can be hundreds."""


@dataclass(frozen=True, slots=True)
class Withheld:
    """A promise that is not kept as it stands.

    Attributes:
        promise: Which.
        quotas: What is not given of it, a few words each; none where all of it was given when the
            farm had more.
    """

    promise: Promise
    quotas: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """It in words."""
        if not self.quotas:
            return (
                f"{self.promise.sentence} It has shrunk since they were given, or over-commitment"
                " was allowed then. They stay as they are, and who finds no device waits."
            )
        named = list(self.quotas[:_NAMED])
        if more := len(self.quotas) - len(named):
            named.append(f"{more} more")
        return f"{self.promise.sentence} Not raised: {', '.join(named)}."


@dataclass(frozen=True, slots=True)
class Restraint:
    """What there should be for as long as it lasts.

    Attributes:
        objects: In the order they are made.
        withheld: Why they are not all that the catalog says.
    """

    objects: tuple[Object, ...]
    withheld: tuple[Withheld, ...] = ()


def restrained(made: Plan, found: Iterable[Object], names: Names) -> Restraint:
    """Leave out what would make the promises that are too large any larger.

    Quotas of their flavours stay as they are where the catalog has more; those that are new are of
    nothing. What the catalog lowers or takes away is lowered and goes, and flavours of which there
    is enough are as it says.

    Args:
        made: What there should be.
        found: What there is that is ours.
        names: What it is called.
    """
    due = {
        names.flavor(flavor): (flavor, promise.what or PODS)
        for promise in made.overcommitted
        for flavor in promise.flavors
    }
    there = {one.name: one for one in found if isinstance(one, ClusterQueue)}
    less: dict[str, list[str]] = {flavor: [] for flavor, _ in due.values()}
    objects = []
    for one in made.objects:
        if due and isinstance(one, ClusterQueue):
            one = _restrained(one, there.get(one.name), due, less)
        objects.append(one)
    return Restraint(
        tuple(objects),
        tuple(
            Withheld(promise, tuple(text for flavor in promise.flavors for text in less[flavor]))
            for promise in made.overcommitted
        ),
    )


def _restrained(
    wanted: ClusterQueue,
    before: ClusterQueue | None,
    due: Mapping[str, tuple[str, str]],
    less: Mapping[str, list[str]],
) -> ClusterQueue:
    made = ClusterQueue.from_wire(wanted.to_wire())
    had = {} if before is None or drained(before) else _quotas(before)
    for group in made.spec.resource_groups:
        for held in group.flavors:
            flavor, resource = due.get(held.name, ("", ""))
            for number, quota in enumerate(held.resources):
                if quota.name == resource:
                    given = _given(quota, had.get((held.name, resource)))
                    held.resources[number] = given
                    if given.nominal_quota < quota.nominal_quota:
                        who = made.metadata.annotations[GROUP]
                        less[flavor].append(
                            f"{who} has {given.nominal_quota} {flavor}, not {quota.nominal_quota}"
                        )
    return made


def _quotas(queue: ClusterQueue) -> dict[tuple[str, str], ResourceQuota]:
    return {
        (held.name, quota.name): quota
        for group in queue.spec.resource_groups
        for held in group.flavors
        for quota in held.resources
    }


def _given(wanted: ResourceQuota, before: ResourceQuota | None) -> ResourceQuota:
    """What is given of a quota where the catalog promises too much."""
    if before is None:
        return wanted.model_copy(update={"nominal_quota": Quantity(0)})
    if before.nominal_quota == UNBOUNDED[PODS]:
        return before  # there was no promise; with the new ones there would be too many
    if before.nominal_quota < wanted.nominal_quota:
        # Written as it was made, by which it is known to be unchanged.
        kept = Quantity(int(before.nominal_quota.amount))
        return wanted.model_copy(update={"nominal_quota": kept})
    return wanted
