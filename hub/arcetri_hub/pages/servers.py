"""JupyterHub's servers, looked at without making any.

``user.spawners[name]`` makes a spawner for any name that is asked for, which a GET must not.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from itertools import count
from typing import TYPE_CHECKING, Any

from arcetri_spawner.errors import ArcetriError, Busy
from arcetri_spawner.policy import OPTION_KEYS
from arcetri_spawner.policy.names import shown

if TYPE_CHECKING:
    from jupyterhub.user import User

    from arcetri_spawner.policy.model import Grant, Options
    from arcetri_spawner.service import SessionService
    from arcetri_spawner.waiting import Entry, WaitingRoom

_CANCEL_SECONDS = 15
_STOP_SECONDS = 10


def spawner_of(user: User, server_name: str) -> Any | None:
    """The server's spawner, or None when there is no such server or nothing was ever started."""
    if server_name not in user.spawners:
        return None
    return user.spawners[server_name]


def is_active(user: User, server_name: str) -> bool:
    """Whether the server runs, starts or stops."""
    spawner = spawner_of(user, server_name)
    return bool(spawner and spawner.active)


def is_ready(user: User, server_name: str) -> bool:
    """Whether the server answers."""
    spawner = spawner_of(user, server_name)
    return bool(spawner and spawner.ready)


def free_name(user: User, waiting: WaitingRoom) -> str:
    """A name for one more session beside the user's first one: ``session-2``, or a later number."""
    return next(
        name
        for n in count(2)
        if not is_active(user, name := f"session-{n}") and not waiting.find(user.name, name)
    )


@contextlib.asynccontextmanager
async def begun_by_asker(service: SessionService, asked: Entry) -> AsyncIterator[None]:
    """Begin the start of a request that was admitted at once; where that fails, it is over.

    Unless it is kept, for the platform to start it.
    """
    try:
        yield
    except BaseException as error:
        # What came as far as the service's start is none of the waiting room's any more.
        if service.waiting.get(asked.id) is asked and not asked.is_kept:
            code = error.code if isinstance(error, ArcetriError) else "start_interrupted"
            await service.waiting.leave(asked, code)
        raise


def choice_of(spawner: Any | None) -> dict[str, str]:
    """What was last asked for, so that it can be asked for again."""
    options = (getattr(spawner, "user_options", None) or {}) if spawner else {}
    return {k: v for k in OPTION_KEYS if isinstance(v := options.get(k), str)}


def is_choice_of(options: Options, grant: Grant) -> bool:
    """Whether a choice, as far as it goes, is what was granted."""
    granted = (grant.group, grant.flavor, grant.environment, grant.size)
    chosen = (options.group, options.flavor, options.environment, options.size)
    return all(mine in (None, theirs) for mine, theirs in zip(chosen, granted, strict=True))


def waits_for_another(grant: Grant) -> Busy:
    """Return what refuses another choice for a server that waits, which would wait as well."""
    return Busy(
        f"This server waits in line for {grant.flavor_title or grant.flavor} and keeps its place:"
        " what you ask for now would not start at once.",
        code="waits_for_another",
        remedy="Start one of its request's `instead`, or leave the queue and ask again.",
    )


async def cancel_start(service: SessionService, user: User, server_name: str, who: Any) -> bool:
    """Undo a start that is under way, and return when it is undone or that takes too long.

    Args:
        service: Told that this is no failure.
        user: Whose server it is.
        server_name: Its name.
        who: Who wants it undone: a user of JupyterHub, or a service.

    Returns:
        False when nothing was starting.
    """
    spawner = spawner_of(user, server_name)
    if spawner is None or spawner.pending != "spawn" or not (start := spawner._spawn_future):
        return False
    other = "" if who.name == user.name else f"Your last start was cancelled by {shown(who.name)}."
    await service.cancelling(user.name, server_name, other)
    start.cancel()
    await asyncio.wait({start}, timeout=_CANCEL_SECONDS)
    return True


async def stop_unattended(service: SessionService, user: User, server_name: str) -> bool | None:
    """Stop what JupyterHub has no server for, or cannot say of yet whether it runs.

    It stops through JupyterHub where that has one.

    Returns:
        Whether it has ended within the time that a page waits; None where there is nothing.
    """
    spawner = spawner_of(user, server_name)
    if spawner is not None and spawner.pending != "check" and spawner.active:
        return None
    over = service.stop_unattended(user.name, server_name)
    if over is None:
        return None
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(over.wait(), _STOP_SECONDS)
    return over.is_set()


async def leave(service: SessionService, waits: Entry, who: Any) -> None:
    """Take a request that has not started out of the queue.

    Raises:
        StoreError: It could not be recorded; the request is where it was.
    """
    mine = who.name == waits.grant.username
    other = "" if mine else f"Your request was taken out of the queue by {shown(who.name)}."
    await service.waiting.leave(waits, message=other)


async def forget_failed(db: Any, user: User, server_name: str) -> None:
    """Remove a named server that came into being only for a start that was refused."""
    if not server_name or is_active(user, server_name):
        return
    orm_spawner = user.orm_spawners.get(server_name)
    if orm_spawner is None:
        return
    user.spawners.pop(server_name, None)
    db.delete(orm_spawner)
    db.commit()
