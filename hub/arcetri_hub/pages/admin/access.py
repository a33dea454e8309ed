"""Who may see and end everybody's sessions: members of the catalog's ``site.admins``, as of now."""

from __future__ import annotations

from collections.abc import Iterable

from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.errors import Denied
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy.model import Identity, Standing


def check_admin(catalog: Catalog, identity: Identity) -> None:
    """Refuse everybody else.

    JupyterHub's own admin mark is not asked: it is set at log-in, and outlives both a change of
    the catalog and the loss of a group.

    Raises:
        Denied: The person is in none of the groups, or is not admitted any more.
    """
    if identity.standing in (Standing.NOT_ADMITTED, Standing.NEVER_LOGGED_IN):
        raise Denied(
            "The identity provider no longer admits you.",
            code="not_admitted",
            remedy="Log in again; your identity provider then says what is wrong.",
        )
    if not identity.groups & frozenset(catalog.site.admins):
        raise Denied(
            "Only the platform's admins see everybody's sessions.",
            code="not_admin",
            remedy=_who(catalog.site.admins),
        )


def _who(admins: Iterable[GroupPath]) -> str:
    names = ", ".join(sorted(admins))
    if not names:
        return "The catalog names no admins: list their group under site.admins."
    return f"Members of {names} are admins; log in again after you have joined."
