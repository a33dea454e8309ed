"""One flavour in one person's situation: what each bound leaves, and why not more.

A bound leaves a *room*, a number of sessions. What starts now is the smallest room; a room that is
used up gives a reason. Both are read off the same rooms, which is why a card without a reason is
exactly one that starts.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

from arcetri_spawner.catalog.models import GroupFlavor
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy import queueing, reasons
from arcetri_spawner.policy.index import installed, is_maintained, maintenance_end
from arcetri_spawner.policy.model import FlavorInventory, LiveSession, QueueBound, Reason
from arcetri_spawner.policy.sizes import most_alike

if TYPE_CHECKING:
    from arcetri_spawner.policy.situation import Situation
    from arcetri_spawner.policy.terms import Terms

_UNBOUNDED: Final = 1 << 30
"""The room of a bound that does not bind."""


class FlavorCase:
    """A flavour, in a situation."""

    def __init__(self, situation: Situation, flavor: str) -> None:
        """Look the flavour up; one that the catalog has lost has nothing but its name."""
        self._situation = situation
        self.flavor = flavor
        self.entry = situation.catalog.flavors.get(flavor)
        self.title = self.entry.title if self.entry else flavor

    # What goes with it

    @cached_property
    def environments(self) -> tuple[str, ...]:
        """Environments that can be started on it."""
        return installed(self._fitting, self._situation.inventory)

    @property
    def _fitting(self) -> tuple[str, ...]:
        return self._situation.index.environments[self.flavor]

    @property
    def sizes(self) -> tuple[str, ...]:
        """Sizes that go with it."""
        return self._situation.index.sizes[self.flavor]

    @property
    def have(self) -> FlavorInventory | None:
        """What there is of it."""
        inventory = self._situation.inventory
        return inventory.flavors.get(self.flavor) if inventory else None

    # How much there is for a group

    def entitlement(self, group: GroupPath) -> GroupFlavor | None:
        """What the catalog entitles the group to; None for everyone's flavours."""
        return self._situation.catalog.group_flavor(group, self.flavor)

    def in_use(self, group: GroupPath) -> int:
        """Sessions of the whole group."""
        return self._situation.in_use.get((group, self.flavor), 0)

    def waiting_of(self, group: GroupPath) -> int:
        """Requests of the whole group that wait for it."""
        return self._situation.in_line.get((group, self.flavor), 0)

    def waiting_of_others(self, group: GroupPath) -> int:
        """Requests of other groups that wait for it, where the order of asking counts."""
        inventory = self._situation.inventory
        if inventory is None or inventory.lends:
            return 0
        waiting = self._situation.in_line.items()
        return sum(n for (who, name), n in waiting if name == self.flavor and who != group)

    def held(self, group: GroupPath) -> list[LiveSession]:
        """The person's own sessions, charged to the group."""
        mine = self._situation.mine
        return [s for s in mine if s.flavor == self.flavor and s.group == group] if mine else []

    def startable(self, group: GroupPath) -> int:
        """How many more would start now, charged to one of its grantors."""
        room = self._shared_room
        if room <= 0:
            return 0
        entitled = self.entitlement(group)
        if entitled is not None and entitled.limit is not None:
            room = min(room, entitled.limit - len(self.held(group)))
        room = min(room, self._left(group, entitled.quota if entitled else None))
        return max(min(room, self._admitted(group)), 0)

    def borrow(self, group: GroupPath) -> int:
        """How many more than its quota the group may hold; none where the queue does not lend."""
        entitled = self.entitlement(group)
        return entitled.borrow if entitled and self._lends else 0

    def shares(self, group: GroupPath) -> bool:
        """Whether the group shares with others what quotas leave, and the queue lends."""
        unbounded = self._rationed.unbounded if self._rationed is not None else ()
        return group in unbounded and len(unbounded) > 1

    def why_not(self, group: GroupPath) -> tuple[Reason, ...]:
        """Every reason why none starts now, refusals first; empty exactly when one would."""
        if self.startable(group):
            return ()
        entitled = self.entitlement(group)
        limit = self.limit_refusal(group)
        waiting = self.waiting(group, entitled.quota if entitled else None)
        if limit is None and waiting is self._capacity_reasons:
            return self._shared_reasons
        own = () if limit is None else (limit,)
        return (*self._situation.refusals, *self.refusals, *own, *waiting)

    # What refuses it

    @cached_property
    def refusals(self) -> tuple[Reason, ...]:
        """What refuses it to everybody."""
        found: list[Reason] = []
        if self._is_maintained and self.entry and self.entry.maintenance:
            maintenance = self.entry.maintenance
            until = maintenance_end(self._situation.catalog, maintenance)
            found.append(
                reasons.maintenance(
                    self.flavor, self.title, until, maintenance.message, self._alternative_title
                )
            )
        if not self.environments:
            found.append(
                reasons.no_environment(
                    self.flavor, self.title, self._fitting, self._alternative_title
                )
            )
        if not self.sizes:
            found.append(reasons.no_size(self.flavor, self.title, self._alternative_title))
        return tuple(found)

    def limit_refusal(self, group: GroupPath) -> Reason | None:
        """What refuses this person more of it through this group."""
        entitled = self.entitlement(group)
        if entitled is None or entitled.limit is None:
            return None
        held = self.held(group)
        if len(held) < entitled.limit:
            return None
        return reasons.flavor_limit(self.flavor, self.title, group, held, entitled.limit)

    # What makes one wait for it

    def waiting(self, group: GroupPath, quota: int | None) -> tuple[Reason, ...]:
        """Why a start would wait now: the queue first, then the group's quota, then devices."""
        shut = self._shut(group)
        if shut is not None:
            return (shut, *self._capacity_reasons)
        if self._left(group, quota) > 0 and self._admitted(group) > 0:
            return self._capacity_reasons
        if quota is None or self._left(group, quota) > 0:
            free = self.have.free if self.have else 0
            kept = (queueing.kept(self.title, free),) if free else ()
            return (*kept, *self._capacity_reasons)
        busy = reasons.busy_quota(
            self.flavor,
            self.title,
            group,
            self.in_use(group),
            quota,
            self._alternative_title,
            borrow=self.borrow(group),
        )
        return (busy, *self._capacity_reasons)

    def _left(self, group: GroupPath, quota: int | None) -> int:
        """How many more the group's part of the flavour leaves it."""
        if quota is not None:
            return quota + self.borrow(group) - self.in_use(group)
        terms = self._rationed
        if terms is None:
            return _UNBOUNDED
        rest = max((self.have.total if self.have else 0) - terms.quotas, 0)
        return rest - sum(map(self.in_use, terms.sharers(group)))

    def _bound(self, group: GroupPath) -> QueueBound | None:
        inventory = self._situation.inventory
        return inventory.queued.get((group, self.flavor)) if inventory is not None else None

    def _admitted(self, group: GroupPath) -> int:
        """How many more the group's queue admits."""
        bound = self._bound(group)
        return _UNBOUNDED if bound is None else bound.most - self.in_use(group)

    def _shut(self, group: GroupPath) -> Reason | None:
        """Why the group's queue admits nothing at all; None where it does."""
        bound = self._bound(group)
        return bound.reason if bound is not None and bound.most <= 0 else None

    # What could be had instead

    @cached_property
    def alternative(self) -> str | None:
        """Another flavour of theirs that would start now, the most alike first."""
        others = [name for name in self._situation.startable_flavors if name != self.flavor]
        return most_alike(self._situation.catalog.flavors, self.flavor, others)

    @property
    def _alternative_title(self) -> str | None:
        other = self.alternative
        return self._situation.catalog.flavors[other].title if other else None

    # What all its groups have in common

    @cached_property
    def _shared_room(self) -> int:
        if self._is_maintained or not self.environments or not self.sizes:
            return 0
        return min(self._situation.person_room, self._capacity)

    @cached_property
    def _shared_reasons(self) -> tuple[Reason, ...]:
        return (*self._situation.refusals, *self.refusals, *self._capacity_reasons)

    @cached_property
    def _rationed(self) -> Terms | None:
        """On what terms groups have it, where the queue lends and some have a quota; else None."""
        terms, inventory = self._situation.index.terms.get(self.flavor), self._situation.inventory
        lends = inventory is not None and inventory.lends
        return terms if lends and terms is not None and terms.counted else None

    @cached_property
    def _lends(self) -> bool:
        inventory = self._situation.inventory
        return inventory is None or inventory.lends

    @cached_property
    def _is_maintained(self) -> bool:
        maintenance = self.entry.maintenance if self.entry else None
        return is_maintained(self._situation.catalog, maintenance, self._situation.now)

    @cached_property
    def _capacity(self) -> int:
        inventory = self._situation.inventory
        if inventory is None:
            return _UNBOUNDED
        have = self.have
        return have.startable if have and not inventory.stale else 0

    @cached_property
    def _capacity_reasons(self) -> tuple[Reason, ...]:
        inventory = self._situation.inventory
        if inventory is None or self._capacity > 0:
            return ()
        alternative = self._alternative_title
        if inventory.stale:
            return (reasons.capacity_unknown(self.title, alternative),)
        have, nodes = self.have, inventory.nodes
        if nodes and self.entry and self.entry.resource is None:
            if have is None or have.nowhere:
                return (reasons.no_node_at_all(self.flavor, self.title, alternative),)
            return (reasons.no_room(self.title, alternative),)
        if have is None or have.total <= 0:
            none = reasons.no_node if nodes else reasons.capacity_none
            return (none(self.flavor, self.title, alternative),)
        if have.free > 0:
            return (reasons.busy_room(self.title, alternative),)
        return (reasons.busy_capacity(self.title, have.total, alternative),)
