"""What a platform on this machine would find, asked by the code that asks for the platform."""

from __future__ import annotations

from datetime import UTC, datetime

from arcetri_spawner.catalog import Catalog
from arcetri_spawner.policy.model import Inventory


def inventory_here(catalog: Catalog, *, simulate: bool) -> Inventory:
    """Return what local mode has while nothing runs.

    Args:
        catalog: What is on offer.
        simulate: Whether simulated devices may be offered at all.
    """
    from arcetri_spawner.backends.local.devices import inventory, offered
    from arcetri_spawner.backends.local.nvml import Driver

    seen = Driver().look()
    return inventory(
        catalog,
        offered(catalog, seen, simulate=simulate),
        (),
        as_of=datetime.now(UTC),
        stale=not seen.complete,
    )
