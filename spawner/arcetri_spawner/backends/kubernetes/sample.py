"""What the site's settings add to every session, found out before the first one starts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from arcetri_spawner.backends.kubernetes.manifest import BadManifest
from arcetri_spawner.backends.kubernetes.offering import NOTHING_ADDED
from arcetri_spawner.backends.kubernetes.site import Site

log = structlog.get_logger(__name__)

Sample = Callable[[], Awaitable[Mapping[str, Any]]]
"""Makes the pod that the site's settings make of a session, nobody's in particular."""


async def site_of(sample: Sample | None) -> Site:
    """Read what a site adds; a site whose settings make no pod without a person adds nothing."""
    if sample is None:
        return NOTHING_ADDED
    try:
        return Site.of(await sample())
    except BadManifest as error:
        why = str(error)
    except Exception as error:  # noqa: BLE001 - a site's own functions may raise anything
        why = f"{type(error).__name__}: {error}"
    log.warning("what c.KubeSpawner adds to sessions is not counted in what is free", why=why)
    return NOTHING_ADDED
