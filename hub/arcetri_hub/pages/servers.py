"""JupyterHub's servers, looked at without making any.

``user.spawners[name]`` makes a spawner for any name that is asked for, which a GET must not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyterhub.user import User


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
