"""What a queue of Kueue's needs to know of the platform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from arcetri_spawner.backends.kubernetes.kueue.asking import whose
from arcetri_spawner.backends.kubernetes.offering import Offering
from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.policy import maintenance_now
from arcetri_spawner.policy.model import Inventory
from kueue_client import Workload

if TYPE_CHECKING:
    from arcetri_spawner.backends.kubernetes.claims import Claims
    from arcetri_spawner.catalog import CatalogHolder
    from arcetri_spawner.queues.names import Names


@dataclass(frozen=True, slots=True)
class Platform:
    """Whose requests are in the queue, and what is offered to them."""

    instance: str
    """Which platform's requests are ours."""
    names: Names
    """What the queues are called, as ``arcetri queues sync`` makes them."""
    catalogs: CatalogHolder
    """The catalog of the moment."""
    inventory: Callable[[], Inventory]
    """What there is, from memory."""
    claims: Claims | None
    """Who has room on which node, beside what is kept for free devices."""

    @property
    def catalog(self) -> Catalog:
        """The catalog that holds now."""
        return self.catalogs.current.catalog

    @property
    def offering(self) -> Offering:
        """The same, with what the site adds."""
        return self.claims.offering if self.claims is not None else Offering.of(self.catalog)

    def maintains(self, workload: Workload) -> bool:
        """Whether the flavour that a Workload asks for is under maintenance."""
        who = whose(workload)
        now = datetime.now(UTC)
        return who is not None and maintenance_now(self.catalog, who.flavor, now) is not None
