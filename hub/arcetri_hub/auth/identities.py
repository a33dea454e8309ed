"""The spawner's view of who somebody is, answered from the hub's users."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from arcetri_hub.auth.authenticator import Accounts
from arcetri_hub.auth.record import LoginRecord
from arcetri_hub.auth.refresher import HubUser, Outcome, Refresher
from arcetri_spawner.errors import StoreError
from arcetri_spawner.identity import Numbers
from arcetri_spawner.policy.model import Identity, Standing


class _Users(Protocol):
    def get(self, key: str | int) -> HubUser | None: ...


class _Authenticator(Protocol):
    refresher: Refresher


class HubApp(Protocol):
    """What is used of ``jupyterhub.app.JupyterHub``."""

    users: Any
    authenticator: Any


class HubIdentities:
    """An ``IdentitySource`` over the running hub.

    Whatever starts a session (form, link, REST token, service, administrator), it asks here, by
    the name of the person the session is for: who asks for it does not matter.
    """

    def __init__(self, store: Accounts) -> None:
        """Create a source that knows nobody until ``attach``."""
        self._store = store
        self._users: _Users | None = None
        self._authenticator: _Authenticator | None = None
        self._ids: dict[str, int] = {}
        """Users' ids in JupyterHub's database by name: it finds names there only by a query."""

    def attach(self, app: HubApp) -> None:
        """Begin to answer from this hub; for ``IamAuthenticator.on_hub_ready``."""
        self._users = app.users
        self._authenticator = app.authenticator

    async def fresh(self, username: str, *, reuse: float = 0.0) -> Identity:
        """Ask IAM, and return what is true now; see ``IdentitySource``."""
        return await self._answer(username, lambda asker, user: asker.fresh(user, reuse=reuse))

    async def known(self, username: str) -> Identity:
        """Return what is known without asking."""
        return await self._answer(username, lambda asker, user: asker.known(user))

    async def numbers(self, username: str) -> Numbers:
        """Return the numeric ids IAM gave a person, where it gives any."""
        user = self._user(username)
        record = LoginRecord.load(await user.get_auth_state()) if user is not None else None
        return Numbers(record.uid, record.gids) if record is not None else Numbers()

    def _user(self, username: str) -> HubUser | None:
        if self._users is None:
            return None
        known = self._ids.get(username)
        user = self._users.get(known) if known is not None else None
        # Asked again by name when an administrator has renamed or deleted the user meanwhile.
        if user is None or user.name != username:
            user = self._users.get(username)
            if user is not None:
                self._ids[username] = user.id
        return user

    async def _answer(
        self, username: str, ask: Callable[[Refresher, HubUser], Awaitable[Outcome]]
    ) -> Identity:
        if self._users is None or self._authenticator is None:
            return await self._nobody(username, Standing.UNKNOWN)
        user = self._user(username)
        if user is None:
            return await self._nobody(username, Standing.NOT_ADMITTED)
        outcome = await ask(self._authenticator.refresher, user)
        if outcome.record is None:
            return await self._nobody(username, outcome.standing)
        return outcome.record.identity(username, outcome.standing)

    async def _nobody(self, username: str, standing: Standing) -> Identity:
        """Somebody of whom nothing but perhaps an account is known: no groups."""
        try:
            account = await self._store.account_by_name(username)
            if account is None and standing is Standing.NOT_ADMITTED:
                # A user whom an administrator made; somebody whose login is lost has an account.
                standing = Standing.NEVER_LOGGED_IN
        except StoreError:
            account = None
        return Identity(
            account_id=account.id if account else "",
            name=username,
            groups=frozenset(),
            standing=standing,
        )
