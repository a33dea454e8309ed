"""What is offered and granted now: policy, over the catalog, devices and sessions of the moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import uuid4

from arcetri_spawner.backends.base import Backend
from arcetri_spawner.errors import Denied
from arcetri_spawner.policy import authorize, offers, parse_options
from arcetri_spawner.policy.model import Grant, Identity, Offers, Standing

if TYPE_CHECKING:
    from arcetri_spawner.catalog import CatalogHolder
    from arcetri_spawner.identity import IdentitySource
    from arcetri_spawner.store import Store

_PATIENCE = 2.0
"""Seconds to wait for the identity provider before somebody is refused for what is known."""


class Gate:
    """Decides; it writes nothing and starts nothing."""

    def __init__(
        self,
        catalogs: CatalogHolder,
        store: Store,
        backend: Backend,
        identities: IdentitySource,
        clock: Callable[[], datetime],
    ) -> None:
        self._catalogs = catalogs
        self._store = store
        self._backend = backend
        self._identities = identities
        self._clock = clock

    async def offers(self, identity: Identity, server_name: str) -> Offers:
        """Every flavour this person's groups grant, and why one would not start now."""
        return offers(
            self._catalogs.current.catalog,
            identity,
            self._backend.current_inventory(),
            await self._store.live_sessions(),
            self._clock(),
            server_name=server_name,
        )

    async def precheck(self, identity: Identity, server_name: str, raw: object) -> None:
        """Refuse early what ``decide_anew`` would refuse anyway.

        Nobody is refused for what they were: before that, IAM is asked what they are now.

        Raises:
            Denied: Policy refuses.
        """
        try:
            await self._decide(identity, server_name, raw)
        except Denied as error:
            if error.code == "invalid_options":
                raise
            now = await self._soon(identity)
            same = (now.standing, now.groups) == (identity.standing, identity.groups)
            if same or now.standing is Standing.UNKNOWN:
                raise
            await self._decide(now, server_name, raw)

    async def decide_anew(self, username: str, server_name: str, raw: object) -> Grant:
        """What a person is granted who asks for a start, from groups asked for just now.

        Raises:
            Denied: Policy refuses.
        """
        return await self._decide(await self._identities.fresh(username), server_name, raw)

    async def _soon(self, identity: Identity) -> Identity:
        """What the provider says now, or what was known when that takes long."""
        try:
            # An answer of this very second will do: whoever asks again and again reads the same.
            asking = self._identities.fresh(identity.name, reuse=1.0)
            return await asyncio.wait_for(asking, _PATIENCE)
        except TimeoutError:
            return identity

    async def _decide(self, identity: Identity, server_name: str, raw: object) -> Grant:
        return authorize(
            self._catalogs.current,
            identity,
            parse_options(raw),
            self._backend.current_inventory(),
            await self._store.live_sessions(),
            self._clock(),
            request_id=uuid4(),
            server_name=server_name,
        )
