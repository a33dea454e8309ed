"""What is offered and granted now: policy, over the catalog, devices and sessions of the moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID, uuid4

from arcetri_spawner.backends.base import Backend, Queue
from arcetri_spawner.errors import Denied
from arcetri_spawner.live import choice_of
from arcetri_spawner.policy import authorize, offers, parse_options, reasons
from arcetri_spawner.policy.model import Grant, Identity, Offers, Standing

if TYPE_CHECKING:
    from arcetri_spawner.catalog import CatalogHolder
    from arcetri_spawner.identity import IdentitySource
    from arcetri_spawner.store import Store

_PATIENCE = 2.0
"""Seconds to wait for the identity provider before what is known has to do."""
_REUSE = 3.0
"""Seconds for which an answer of the provider does for a start whose request was just decided."""

_OF_GROUPS: Final = frozenset({"not_allowed", "flavor_not_granted", "group_not_yours"})
"""Refusals that another answer of the provider could lift."""


class Decision(NamedTuple):
    """What somebody is granted who asks now."""

    grant: Grant
    unsure: Denied | None = None
    """Why its start cannot be decided yet; None where the provider has answered."""


class Gate:
    """Decides; it writes nothing and starts nothing."""

    def __init__(
        self,
        catalogs: CatalogHolder,
        store: Store,
        backend: Backend,
        queue: Queue,
        identities: IdentitySource,
        clock: Callable[[], datetime],
    ) -> None:
        self._catalogs = catalogs
        self._store = store
        self._backend = backend
        self._queue = queue
        self._identities = identities
        self._clock = clock

    async def offers(
        self, identity: Identity, server_name: str, *, ignoring: UUID | None = None
    ) -> Offers:
        """Every flavour this person's groups grant, and why one would not start now."""
        return offers(
            self._catalogs.current.catalog,
            identity,
            replace(self._backend.current_inventory(), queued=self._queue.bounds()),
            await self._store.live_sessions(),
            self._clock(),
            server_name=server_name,
            ignoring=ignoring,
        )

    async def decide_soon(
        self, username: str, server_name: str, raw: object, *, instead_of: UUID | None = None
    ) -> Decision:
        """What a person is granted who asks now, with an answer of the provider if it has one soon.

        Whoever asks watches; nobody is granted or refused for what they were, unless the provider
        takes long or is silent: then what it said last decides whether they may wait for its
        answer, and nothing starts before.

        Args:
            username: The account's name.
            server_name: The server to start.
            raw: What is chosen.
            instead_of: A request that would be given up for this one, and does not count.

        Raises:
            Denied: Policy refuses.
        """
        parse_options(raw)
        known = await self._identities.known(username)
        granted: Grant | None = None
        try:
            granted = await self._decide(known, server_name, raw, ignoring=instead_of)
            reuse = 0.0
        except Denied:
            # Whoever asks again and again for what they have not reads the same.
            reuse = 1.0
        now = await self._soon(known, reuse)
        if now is None or now.standing is Standing.UNKNOWN:
            return await self._decide_as_before(now or known, server_name, raw, instead_of)
        if granted is not None and _same(now, known):
            # What others asked for meanwhile is counted where the request is written.
            return Decision(granted)
        return Decision(await self._decide(now, server_name, raw, ignoring=instead_of))

    async def _decide_as_before(
        self, identity: Identity, server_name: str, raw: object, instead_of: UUID | None
    ) -> Decision:
        """Decide by what the provider said last, since it says nothing now."""
        silence = reasons.denied(reasons.identity_unknown())
        before = identity.as_before()
        try:
            grant = await self._decide(before, server_name, raw, ignoring=instead_of)
        except Denied as error:
            if error.code in _OF_GROUPS:
                # They may be in other groups by now, and nobody can tell.
                raise silence from error
            raise
        return Decision(grant, silence)

    async def decide_anew(self, username: str, server_name: str, raw: object) -> Grant:
        """What a person is granted who asks for a start, from groups asked for just now.

        Raises:
            Denied: Policy refuses.
        """
        return await self._decide(await self._identities.fresh(username), server_name, raw)

    async def decide_again(self, grant: Grant) -> Grant:
        """What somebody is granted now whose turn it is, under the request's own id.

        Raises:
            Denied: Policy refuses.
        """
        identity = await self._identities.fresh(grant.username, reuse=_REUSE)
        return await self._decide(identity, grant.server_name, choice_of(grant), again=grant)

    async def _soon(self, identity: Identity, reuse: float) -> Identity | None:
        """What the provider says now; None when that takes long."""
        try:
            asking = self._identities.fresh(identity.name, reuse=reuse)
            return await asyncio.wait_for(asking, _PATIENCE)
        except TimeoutError:
            return None

    async def _decide(
        self,
        identity: Identity,
        server_name: str,
        raw: object,
        *,
        again: Grant | None = None,
        ignoring: UUID | None = None,
    ) -> Grant:
        sessions = await self._store.live_sessions()
        grant = authorize(
            self._catalogs.current,
            identity,
            parse_options(raw),
            self._backend.current_inventory(),
            [session for session in sessions if session.id != ignoring],
            self._clock(),
            request_id=again.request_id if again else uuid4(),
            server_name=server_name,
        )
        # A place in line is nothing that policy decides.
        return replace(grant, earlier=again.earlier) if again else grant


def _same(one: Identity, other: Identity) -> bool:
    """Whether policy decides the same for both: when and how they were learnt is no matter."""
    return replace(one, checked_at=None, display_name="") == replace(
        other, checked_at=None, display_name=""
    )
