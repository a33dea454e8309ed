"""Who may read what a cluster or a server said, word for word, of how a session ended."""

from __future__ import annotations

from jupyterhub import orm

from arcetri_hub.pages.admin.access import check_admin
from arcetri_hub.pages.base import PlatformHandler
from arcetri_spawner.errors import Denied


async def may_read_details(handler: PlatformHandler, user_name: str) -> bool:
    """Whether who asks may read the details of a user's sessions: that user, and the admins.

    Others may have scopes for the user's servers; no scope is for this. A server's last lines are
    among it, which can hold anything.

    Args:
        handler: Answers who asks.
        user_name: Whose sessions.
    """
    who = handler.current_user
    if who is None or isinstance(who, orm.Service):
        return False
    if who.name == user_name:
        return True
    platform = handler.platform
    try:
        check_admin(platform.catalogs.current.catalog, await platform.identities.known(who.name))
    except Denied:
        return False
    return True
