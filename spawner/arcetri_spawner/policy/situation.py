"""One person's situation at one moment: what they are granted, and what refuses every start.

Offers, refusals at a start and waiting reasons are all read off here and off each flavour's side of
it (``FlavorCase``), so that they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cached_property
from uuid import UUID

from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.groups import EVERYONE, GroupPath
from arcetri_spawner.policy import reasons
from arcetri_spawner.policy.flavors import FlavorCase
from arcetri_spawner.policy.index import index_of
from arcetri_spawner.policy.model import Identity, Inventory, LiveSession, Reason, Standing
from arcetri_spawner.policy.names import is_account_name, is_server_name


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
        self.stranger = None if granted else refusal_of_stranger(catalog, identity.groups)
        order = self.index.group_order
        self.groups: tuple[GroupPath, ...] = tuple(
            sorted(identity.groups & order.keys(), key=order.__getitem__)
        )
        self.mine: list[LiveSession] = []
        self.in_use: dict[tuple[GroupPath, str], int] = {}
        self.in_line: dict[tuple[GroupPath, str], int] = {}
        for session in sessions:
            if ignoring is not None and session.id == ignoring:
                continue
            if session.account_id == identity.account_id:
                self.mine.append(session)
            counted = self.in_line if session.waiting else self.in_use
            key = (session.group, session.flavor)
            counted[key] = counted.get(key, 0) + 1
        self._cases: dict[str, FlavorCase] = {}

    # What the person is granted

    @cached_property
    def offered(self) -> dict[str, list[GroupPath]]:
        """Flavours with those of the person's groups that grant them, in the catalog's order."""
        if self.stranger is not None:
            return {}
        grantors: dict[str, list[GroupPath]] = {}
        for group in self.groups:
            for flavor in self.catalog.groups[group].flavors:
                grantors.setdefault(flavor, []).append(group)
        for flavor in self.index.everyone:
            grantors.setdefault(flavor, []).append(EVERYONE)
        return {f: grantors[f] for f in self.catalog.flavors if f in grantors}

    def case(self, flavor: str) -> FlavorCase:
        """The flavour's side of the situation, worked out once for all groups that grant it."""
        known = self._cases.get(flavor)
        if known is None:
            known = self._cases[flavor] = FlavorCase(self, flavor)
        return known

    @cached_property
    def startable_flavors(self) -> tuple[str, ...]:
        """Flavours of which one more would start now, in the catalog's order."""
        if self.person_room <= 0:
            return ()
        return tuple(
            flavor
            for flavor, grantors in self.offered.items()
            if any(map(self.case(flavor).startable, grantors))
        )

    # What refuses every start

    @cached_property
    def refusals(self) -> tuple[Reason, ...]:
        """What refuses every start of this server; the first is the one to raise."""
        identity = self.identity
        match identity.standing:
            case Standing.NEVER_LOGGED_IN:
                return (reasons.never_logged_in(identity.name),)
            case Standing.NOT_ADMITTED:
                return (reasons.not_admitted(identity.name),)
            case Standing.UNKNOWN:
                return (reasons.identity_unknown(),)
        if not is_account_name(identity.name):
            return (reasons.account_name_unsafe(identity.name),)
        if self.stranger is not None:
            return (self.stranger,)
        if not is_server_name(self.server_name):
            return (reasons.server_name_invalid(self.server_name),)
        limits = self.catalog.limits
        return tuple(
            counting_refusals(self.mine, self.server_name, limits.sessions, limits.requests)
        )

    @cached_property
    def person_room(self) -> int:
        """How many more sessions the person may start at all."""
        if self.refusals:
            return 0
        limits = self.catalog.limits
        held = sum(not session.waiting for session in self.mine)
        return min(limits.sessions - held, limits.requests - len(self.mine))


def refusal_of_stranger(catalog: Catalog, groups: Collection[GroupPath]) -> Reason | None:
    """Why somebody with these groups is not allowed in at all; None when they are.

    A login asks the same as a start.
    """
    if not index_of(catalog).allowed.isdisjoint(groups):
        return None
    site = catalog.site
    others = catalog.groups.keys() - set(site.members)
    return reasons.not_allowed(site.name, groups, site.members, others)


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
