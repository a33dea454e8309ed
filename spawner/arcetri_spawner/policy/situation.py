"""One person's situation at one moment: what each bound leaves them, and why not more.

Offers, refusals at a start and waiting reasons are all read off here, so that they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Final, NamedTuple
from uuid import UUID

from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.groups import EVERYONE, GroupPath
from arcetri_spawner.policy import reasons
from arcetri_spawner.policy.index import index_of, maintenance_end
from arcetri_spawner.policy.model import Identity, Inventory, LiveSession, Reason, Standing
from arcetri_spawner.policy.names import is_account_name, is_server_name

UNBOUNDED: Final = 1 << 30
"""What a bound that does not bind leaves."""


class Room(NamedTuple):
    """How many more sessions each bound leaves, for one flavour charged to one group."""

    person: int
    """Standing, sessions and requests of the person."""
    flavor: int
    """Maintenance, environments and sizes of the flavour."""
    limit: int
    """What the group allows one user."""
    quota: int
    """What the group has left."""
    capacity: int
    """What the devices leave."""

    @property
    def startable(self) -> int:
        """How many more would start now."""
        return max(0, min(self))


class Situation:
    """A catalog, a person, an inventory and the live sessions at one moment."""

    def __init__(
        self,
        catalog: Catalog,
        identity: Identity,
        inventory: Inventory | None,
        sessions: Sequence[LiveSession],
        now: datetime,
        *,
        server_name: str = "",
        ignoring: UUID | None = None,
        granted: bool = False,
    ) -> None:
        """Count everything once.

        Args:
            catalog: What is granted to whom.
            identity: The person.
            inventory: What there is; None leaves capacity out.
            sessions: All live ones, of everybody.
            now: When this is decided.
            server_name: The server to start; empty for the default one.
            ignoring: A request that is being decided again and must not count against itself.
            granted: The person holds a grant, so that they are allowed in is known already.
        """
        self.catalog = catalog
        self.index = index_of(catalog)
        self.identity = identity
        self.inventory = inventory
        self.now = now
        self.server_name = server_name
        self.allowed = granted or not self.index.allowed.isdisjoint(identity.groups)
        order = self.index.group_order
        self.groups: tuple[GroupPath, ...] = tuple(
            sorted(identity.groups & order.keys(), key=order.__getitem__)
        )
        self.mine: list[LiveSession] = []
        self.in_use: dict[tuple[GroupPath, str], int] = {}
        for session in sessions:
            if session.id == ignoring:
                continue
            if session.account_id == identity.account_id:
                self.mine.append(session)
            if not session.waiting:
                key = (session.group, session.flavor)
                self.in_use[key] = self.in_use.get(key, 0) + 1
        # Worked out when first asked for: a page asks the same of a flavour for each of its groups.
        self._rooms: dict[tuple[str, GroupPath], Room] = {}
        self._flavor_rooms: dict[str, tuple[int, int]] = {}
        self._alternatives: dict[str, str | None] = {}
        self._capacity_reasons: dict[str, Reason] = {}

    # What the person is granted

    @cached_property
    def offered(self) -> dict[str, list[GroupPath]]:
        """Flavours with those of the person's groups that can be charged, in the catalog's order."""
        if not self.allowed:
            return {}
        grantors: dict[str, list[GroupPath]] = {}
        for group in self.groups:
            for flavor in self.catalog.groups[group].flavors:
                grantors.setdefault(flavor, []).append(group)
        for flavor in self.index.everyone:
            grantors.setdefault(flavor, []).append(EVERYONE)
        return {f: grantors[f] for f in self.catalog.flavors if f in grantors}

    def environments(self, flavor: str) -> tuple[str, ...]:
        """Environments that can be started on the flavour."""
        fitting = self.index.environments[flavor]
        here = self.inventory.environments if self.inventory else None
        return fitting if here is None else tuple(name for name in fitting if name in here)

    def sizes(self, flavor: str) -> tuple[str, ...]:
        """Sizes that go with the flavour."""
        return self.index.sizes[flavor]

    # What refuses every start

    @cached_property
    def refusals(self) -> tuple[Reason, ...]:
        """What refuses every start of this server; the first is the one to raise."""
        identity = self.identity
        match identity.standing:
            case Standing.NOT_ADMITTED:
                return (reasons.not_admitted(identity.name),)
            case Standing.UNKNOWN:
                return (reasons.identity_unknown(),)
        if not is_account_name(identity.name):
            return (reasons.account_name_unsafe(identity.name),)
        site = self.catalog.site
        if not self.allowed:
            others = self.catalog.groups.keys() - set(site.members)
            return (reasons.not_allowed(site.name, identity.groups, site.members, others),)
        if not is_server_name(self.server_name):
            return (reasons.server_name_invalid(self.server_name),)
        limits = self.catalog.limits
        return tuple(
            counting_refusals(self.mine, self.server_name, limits.sessions, limits.requests)
        )

    @cached_property
    def _person_room(self) -> int:
        if self.refusals:
            return 0
        limits = self.catalog.limits
        held = sum(not session.waiting for session in self.mine)
        return min(limits.sessions - held, limits.requests - len(self.mine))

    # What refuses or delays one flavour

    def room(self, flavor: str, group: GroupPath) -> Room:
        """What each bound leaves of a flavour charged to one of its grantors."""
        known = self._rooms.get((flavor, group))
        if known is not None:
            return known
        entry = self.catalog.group_flavor(group, flavor)
        limit = entry.limit if entry else None
        quota = entry.quota if entry else None
        open_for, capacity = self._flavor_room(flavor)
        room = self._rooms[flavor, group] = Room(
            self._person_room,
            open_for,
            UNBOUNDED if limit is None else limit - len(self.held(flavor, group)),
            UNBOUNDED if quota is None else quota - self.in_use.get((group, flavor), 0),
            capacity,
        )
        return room

    def held(self, flavor: str, group: GroupPath) -> list[LiveSession]:
        """The person's own sessions of a flavour charged to a group."""
        return [s for s in self.mine if s.flavor == flavor and s.group == group]

    def flavor_refusals(self, flavor: str) -> tuple[Reason, ...]:
        """What refuses the flavour to everybody."""
        if self._flavor_room(flavor)[0]:
            return ()
        entry = self.catalog.flavors[flavor]
        found: list[Reason] = []
        if entry.maintenance and self._maintained(flavor):
            found.append(
                reasons.maintenance(
                    flavor,
                    entry.title,
                    maintenance_end(self.catalog, entry.maintenance),
                    entry.maintenance.message,
                    self.alternative_title(flavor),
                )
            )
        if not self.environments(flavor):
            found.append(reasons.no_environment(flavor, entry.title))
        if not self.sizes(flavor):
            found.append(reasons.no_size(flavor, entry.title))
        return tuple(found)

    def limit_refusal(self, flavor: str, group: GroupPath) -> Reason | None:
        """What refuses this person more of the flavour through this group."""
        entry = self.catalog.group_flavor(group, flavor)
        if entry is None or entry.limit is None or self.room(flavor, group).limit > 0:
            return None
        held = self.held(flavor, group)
        title = self.catalog.flavors[flavor].title
        return reasons.flavor_limit(flavor, title, group, held, entry.limit)

    def waiting(self, flavor: str, group: GroupPath, quota: int | None) -> tuple[Reason, ...]:
        """Why a start would wait now: the group's quota first, then the devices."""
        entry = self.catalog.flavors.get(flavor)
        title = entry.title if entry else flavor
        found: list[Reason] = []
        used = self.in_use.get((group, flavor), 0)
        if quota is not None and used >= quota:
            found.append(
                reasons.busy_quota(
                    flavor, title, group, used, quota, self.alternative_title(flavor)
                )
            )
        if self._capacity(flavor) <= 0:
            # One object for all groups of the flavour: the page shows it once.
            if flavor not in self._capacity_reasons:
                self._capacity_reasons[flavor] = self._capacity_reason(flavor, title)
            found.append(self._capacity_reasons[flavor])
        return tuple(found)

    def why_not(self, flavor: str, group: GroupPath) -> tuple[Reason, ...]:
        """Every reason why none starts now, refusals first; empty exactly when one would."""
        if self.room(flavor, group).startable:
            return ()
        entry = self.catalog.group_flavor(group, flavor)
        limit = self.limit_refusal(flavor, group)
        return (
            *self.refusals,
            *self.flavor_refusals(flavor),
            *((limit,) if limit else ()),
            *self.waiting(flavor, group, entry.quota if entry else None),
        )

    # Alternatives

    def alternative(self, flavor: str) -> str | None:
        """Another flavour of theirs that would start now, the most alike first."""
        if self._person_room <= 0:
            return None
        if flavor not in self._alternatives:
            self._alternatives[flavor] = self._most_alike(flavor)
        return self._alternatives[flavor]

    def _most_alike(self, flavor: str) -> str | None:
        wanted = self.catalog.flavors.get(flavor)
        best: tuple[tuple[bool, int], str] | None = None
        for other in self._startable_flavors:
            if other == flavor:
                continue
            entry = self.catalog.flavors[other]
            unlike = (
                (entry.type != wanted.type, abs((entry.memory or 0) - (wanted.memory or 0)))
                if wanted
                else (False, 0)
            )
            if best is None or unlike < best[0]:
                best = (unlike, other)
        return best[1] if best else None

    def alternative_title(self, flavor: str) -> str | None:
        """The alternative's title, for a sentence."""
        other = self.alternative(flavor)
        return self.catalog.flavors[other].title if other else None

    @cached_property
    def _startable_flavors(self) -> tuple[str, ...]:
        return tuple(
            flavor
            for flavor, grantors in self.offered.items()
            if any(self.room(flavor, group).startable for group in grantors)
        )

    # Inventory and maintenance

    def _flavor_room(self, flavor: str) -> tuple[int, int]:
        """What the flavour itself and its devices leave."""
        known = self._flavor_rooms.get(flavor)
        if known is None:
            closed = (
                self._maintained(flavor) or not self.environments(flavor) or not self.sizes(flavor)
            )
            known = (0 if closed else UNBOUNDED, self._capacity(flavor))
            self._flavor_rooms[flavor] = known
        return known

    def _maintained(self, flavor: str) -> bool:
        maintenance = self.catalog.flavors[flavor].maintenance
        if maintenance is None:
            return False
        end = maintenance_end(self.catalog, maintenance)
        return end is None or self.now < end

    def _capacity(self, flavor: str) -> int:
        if self.inventory is None:
            return UNBOUNDED
        if self.inventory.stale:
            return 0
        entry = self.inventory.flavors.get(flavor)
        return entry.free if entry else 0

    def _capacity_reason(self, flavor: str, title: str) -> Reason:
        alternative = self.alternative_title(flavor)
        assert self.inventory is not None  # noqa: S101 - without one, capacity never binds
        if self.inventory.stale:
            return reasons.capacity_unknown(title, alternative)
        entry = self.inventory.flavors.get(flavor)
        if entry is None or entry.total <= 0:
            return reasons.capacity_none(flavor, title, alternative)
        return reasons.busy_capacity(title, entry.total, alternative)


def counting_refusals(
    mine: Sequence[LiveSession], server_name: str, sessions_limit: int, requests_limit: int
) -> list[Reason]:
    """What the person's own live sessions refuse.

    The store asks the same again in the transaction that writes a request.
    """
    found: list[Reason] = []
    if any(session.server_name == server_name for session in mine):
        found.append(reasons.already_running(server_name))
    held = [session for session in mine if not session.waiting]
    if len(held) >= sessions_limit:
        found.append(reasons.session_limit(held, sessions_limit))
    if len(mine) >= requests_limit:
        found.append(reasons.request_limit(mine, requests_limit))
    return found
