"""What nodes have, and who is given what of it, for the tests of this package."""

from __future__ import annotations

from collections.abc import Container
from uuid import UUID

from arcetri_spawner.backends.kubernetes.claims import Claims
from arcetri_spawner.backends.kubernetes.inventory import Stock
from arcetri_spawner.backends.kubernetes.manifest import JsonObject
from arcetri_spawner.backends.kubernetes.offering import Offering
from tests.spawner.kubernetes.plans import cluster_catalog

OFFERING = Offering.of(cluster_catalog())


def stock(*nodes: JsonObject) -> Stock:
    """A stock of these nodes, by the catalog of these tests."""
    made = Stock(OFFERING, instance="arcetri", namespace="sessions")
    for one in nodes:
        made.put_node(one)
    return made


def claims(of: Stock, placed: Container[UUID] = (), *, fresh: bool = True) -> Claims:
    """Who gives what the stock has; ``placed`` are sessions whose pods are on nodes."""
    return Claims(
        of,
        lambda: OFFERING,
        fresh=lambda: fresh,
        has_pod=placed.__contains__,
        is_placed=placed.__contains__,
        changed=lambda: None,
    )
