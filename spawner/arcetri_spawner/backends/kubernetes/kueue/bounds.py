"""What the groups' queues admit at most, where that is less than the catalog grants. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from arcetri_spawner.backends.kubernetes.kueue import words
from arcetri_spawner.catalog.models import Catalog, GroupFlavor
from arcetri_spawner.groups import EVERYONE, GroupPath
from arcetri_spawner.policy import queueing
from arcetri_spawner.policy.model import QueueBound
from arcetri_spawner.queues.names import Names
from arcetri_spawner.queues.shares import PODS, UNBOUNDED, counted_by
from kueue_client import ClusterQueue, LocalQueue
from kueue_client.queues import ResourceQuota
from kueue_client.why import closed

Bounds = Mapping[tuple[GroupPath, str], QueueBound]
"""By group and flavour."""


def silent(catalog: Catalog) -> Bounds:
    """What there is while Kueue does not answer: nothing, for anybody."""
    bound = QueueBound(0, queueing.silent())
    return {(group, flavor): bound for group, held in _granted(catalog).items() for flavor in held}


def bounds(
    catalog: Catalog,
    names: Names,
    queues: Mapping[str, LocalQueue],
    pools: Mapping[str, ClusterQueue],
) -> Bounds:
    """Where queues admit less than the catalog grants.

    Args:
        catalog: What is granted.
        names: What the queues are called.
        queues: All LocalQueues where the sessions are.
        pools: All ClusterQueues.
    """
    found: dict[tuple[GroupPath, str], QueueBound] = {}
    for group, held in _granted(catalog).items():
        name = names.local_queue(group)
        local = queues.get(name)
        pool = pools.get(local.spec.cluster_queue) if local is not None else None
        answer = closed(name, names.namespace, local, pool, missing=local is None)
        why = words.shut(answer[0], group) if answer is not None else None
        if why is None and pool is None:
            why = queueing.unready(group)
        for flavor, entitled in held.items():
            if why is not None:
                found[group, flavor] = QueueBound(0, why)
            elif pool is not None:
                bound = _bound(catalog, names, pool, group, flavor, entitled)
                if bound is not None:
                    found[group, flavor] = bound
    return found


def _granted(catalog: Catalog) -> dict[GroupPath, Mapping[str, GroupFlavor]]:
    granted: dict[GroupPath, Mapping[str, GroupFlavor]] = {
        path: group.flavors for path, group in catalog.groups.items()
    }
    granted[EVERYONE] = {name: GroupFlavor() for name in catalog.everyone.flavors}
    return granted


def _bound(
    catalog: Catalog,
    names: Names,
    pool: ClusterQueue,
    group: GroupPath,
    flavor: str,
    entitled: GroupFlavor,
) -> QueueBound | None:
    title = catalog.flavors[flavor].title
    quota = _quota(pool, names.flavor(flavor), counted_by(catalog.flavors[flavor]))
    if quota is None:
        return QueueBound(0, queueing.no_flavor(group, title))
    most = _most(quota, alone=not pool.spec.cohort_name)
    promised = None if entitled.quota is None else entitled.quota + entitled.borrow
    if most is None or (promised is not None and most >= promised):
        return None
    return QueueBound(most, queueing.too_large(group, title))


def _quota(pool: ClusterQueue, flavor: str, resource: str) -> ResourceQuota | None:
    """What a ClusterQueue has of what a flavour is counted by; None where it does not have it."""
    for covered in pool.spec.resource_groups:
        for one in covered.flavors:
            if one.name == flavor:
                return next((quota for quota in one.resources if quota.name == resource), None)
    return None


def _most(quota: ResourceQuota, *, alone: bool) -> int | None:
    """How much it ever gives; None where nodes, or what others leave idle, are the only bound."""
    own = quota.nominal_quota
    if own >= UNBOUNDED[PODS]:
        return None
    if alone:
        return int(own.amount)
    if quota.borrowing_limit is None:
        return None
    return int(own.amount + quota.borrowing_limit.amount)
