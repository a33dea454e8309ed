"""What the cluster has and how much of it is free, from memory, as its nodes and pods say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from arcetri_spawner.backends.kubernetes.api import Api
from arcetri_spawner.backends.kubernetes.cluster import Cluster
from arcetri_spawner.backends.kubernetes.config import KubernetesConfig
from arcetri_spawner.backends.kubernetes.inventory import Stock
from arcetri_spawner.backends.kubernetes.offering import NOTHING_ADDED, Offering
from arcetri_spawner.backends.kubernetes.site import Site
from arcetri_spawner.backends.news import InventoryNews
from arcetri_spawner.policy.model import Inventory

if TYPE_CHECKING:
    from arcetri_spawner.catalog import CatalogHolder


class Availability:
    """Sums what is free; nothing is, as long as no answer of the API server vouches for it."""

    def __init__(self, config: KubernetesConfig, catalogs: CatalogHolder) -> None:
        """Begin with an empty cluster; may be made before there is an event loop.

        Args:
            config: Which namespace and which platform's sessions are ours.
            catalogs: The catalog of the moment.
        """
        self._config = config
        self._catalogs = catalogs
        self._site = NOTHING_ADDED
        self._stock = Stock(
            Offering.of(catalogs.current.catalog),
            instance=config.instance_id,
            namespace=config.namespace,
        )
        self._cluster: Cluster | None = None
        self._as_of = datetime.now(UTC)
        self._news = InventoryNews(self.inventory)
        catalogs.subscribe(self._catalog_changed)

    def count(self, site: Site) -> None:
        """Count what the site's settings add to each session."""
        self._site = site
        self._stock.offer(Offering.of(self._catalogs.current.catalog, site))

    def follow(self, api: Api) -> Cluster:
        """Make the copy of the cluster from which it is summed, for who keeps it fresh."""
        self._cluster = Cluster(
            api,
            namespace=self._config.namespace,
            instance=self._config.instance_id,
            stock=self._stock,
            changed=self._news.changed,
        )
        return self._cluster

    def _catalog_changed(self, *_: object) -> None:
        self._stock.offer(Offering.of(self._catalogs.current.catalog, self._site))
        self._news.changed()

    @property
    def fresh(self) -> bool:
        """Whether nodes and pods are what the API server said just now."""
        return self._cluster is not None and self._cluster.fresh

    def inventory(self) -> Inventory:
        """What there is now; stale while the API server cannot be asked."""
        fresh = self.fresh
        if fresh:
            self._as_of = datetime.now(UTC)
        return self._stock.inventory(self._as_of, stale=not fresh)

    def watch(self) -> AsyncIterator[Inventory]:
        """What there is, at once and then at every change, for ever."""
        return self._news.watch()

    def startable(self, flavor: str, size: str) -> int:
        """How many more sessions of a flavour and size the nodes have room for now.

        One that the catalog has no longer, or that no answer of the API server vouches for: none.
        """
        if not self.fresh:
            return 0
        try:
            return self._stock.startable(flavor, size)
        except KeyError:
            return 0

    def nodes_with_room(self, flavor: str, size: str) -> list[str]:
        """The host names of the nodes that have room to spare for a flavour and size."""
        return [room.hostname for room in self._stock.rooms(flavor, size)]

    def is_placed(self, session: UUID) -> bool:
        """Whether a session's pod is on a node, and so in the numbers of what is free."""
        pod = self._cluster.pod(session) if self._cluster else None
        return pod is not None and bool(pod["spec"].get("nodeName"))
