"""What the cluster has and how much of it is free, from memory, as its nodes and pods say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from arcetri_spawner.backends.kubernetes.api import Api, Object
from arcetri_spawner.backends.kubernetes.claims import Claims
from arcetri_spawner.backends.kubernetes.cluster import Cluster
from arcetri_spawner.backends.kubernetes.config import KubernetesConfig
from arcetri_spawner.backends.kubernetes.inventory import Stock
from arcetri_spawner.backends.kubernetes.offering import NOTHING_ADDED, Offering
from arcetri_spawner.backends.kubernetes.placement import HOSTNAME
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
        self._offering = Offering.of(catalogs.current.catalog)
        self._stock = Stock(self._offering, instance=config.instance_id, namespace=config.namespace)
        self._cluster: Cluster | None = None
        self._as_of = datetime.now(UTC)
        self._news = InventoryNews(self.inventory)
        self.claims = Claims(
            self._stock,
            lambda: self._offering,
            fresh=lambda: self.fresh,
            has_pod=lambda session: self._pod_of(session) is not None,
            is_placed=self._is_placed,
            changed=self._news.changed,
            tied_to=self._tied_to,
        )
        """Who has room on which node."""
        catalogs.subscribe(self._catalog_changed)

    def count(self, site: Site) -> None:
        """Count what the site's settings add to each session."""
        self._site = site
        self._offer()

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
        self._offer()
        self._news.changed()

    def _offer(self) -> None:
        self._offering = Offering.of(self._catalogs.current.catalog, self._site)
        self._stock.offer(self._offering)

    @property
    def fresh(self) -> bool:
        """Whether nodes and pods are what the API server said just now."""
        return self._cluster is not None and self._cluster.fresh

    def inventory(self) -> Inventory:
        """What there is now; stale while the API server cannot be asked."""
        fresh = self.fresh
        if fresh:
            self._as_of = datetime.now(UTC)
        return self._stock.inventory(self._as_of, stale=not fresh, lends=self._config.lends)

    def watch(self) -> AsyncIterator[Inventory]:
        """What there is, at once and then at every change, for ever."""
        return self._news.watch()

    def _pod_of(self, session: UUID) -> Object | None:
        return self._cluster.pod(session) if self._cluster else None

    def _tied_to(self, session: UUID) -> str | None:
        pod = self._pod_of(session)
        node = (pod["spec"].get("nodeSelector") or {}).get(HOSTNAME) if pod is not None else None
        return str(node) if node else None

    def _is_placed(self, session: UUID) -> bool:
        """Whether a session's pod is on a node, and so in the numbers of what is free."""
        pod = self._pod_of(session)
        return pod is not None and bool(pod["spec"].get("nodeName"))
