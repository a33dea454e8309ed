"""What Kueue's objects must be for a catalog. Pure.

One ClusterQueue and one LocalQueue a group, all in one cohort, the farm; one ResourceFlavor a
flavour, whose nodes Kueue knows by their names, so that what is admitted fits one of them. A
ticket's node selector and resource say which flavour it is for.

A session counts as one device of its flavour; without an accelerator, as one pod. Cores and memory
are bounded by the nodes alone. What a group may have of a flavour becomes:

- with a quota: that much of its own, ``borrow`` more where others leave it idle. It lends its own
  only where somebody may borrow the flavour;
- without a quota, where nobody else of the flavour's groups has one: no bound but the nodes;
- without a quota, beside groups that have one: what is left of the flavour's capacity. Where
  several are in that place they share the rest, and Kueue may take back from who has more of it.
  What flavours that share devices leave is divided between them: see ``shares``.

A notebook is pushed out only to give back what was borrowed. Notebooks come before batch.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from arcetri_spawner.backends.kubernetes.offering import Offering
from arcetri_spawner.catalog.models import Catalog, GroupFlavor
from arcetri_spawner.groups import EVERYONE
from arcetri_spawner.queues.farm import Farm
from arcetri_spawner.queues.names import GROUP, Names
from arcetri_spawner.queues.shares import (
    UNBOUNDED as UNBOUNDED,
)
from arcetri_spawner.queues.shares import (
    Promise,
    Shares,
    counted_by,
    promises,
    shared_out,
)
from kueue_client.base import Object, ObjectMeta
from kueue_client.enums import PreemptionPolicy, QueueingStrategy
from kueue_client.flavors import (
    HOSTNAME,
    ResourceFlavor,
    ResourceFlavorSpec,
    Topology,
    TopologyLevel,
    TopologySpec,
    WorkloadPriorityClass,
)
from kueue_client.quantity import Quantity
from kueue_client.queues import (
    ClusterQueue,
    ClusterQueuePreemption,
    ClusterQueueSpec,
    Cohort,
    CohortSpec,
    FairSharing,
    FlavorQuotas,
    LocalQueue,
    LocalQueueSpec,
    ResourceGroup,
    ResourceQuota,
)

PRIORITIES: Final = {"notebook": 1000, "batch": 0}
"""By a request's kind; the higher, the sooner."""
ANYWHERE: Final = {"kubernetes.io/os": "linux"}
"""The nodes of a flavour that names none: Kueue wants a label."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What there should be.

    Attributes:
        objects: In the order they are made.
        overcommitted: Where more is promised than there is.
        confused: Sentences about flavours that Kueue cannot tell apart: there must be none.
        notices: Sentences about what the catalog's words mean here.
    """

    objects: tuple[Object, ...]
    overcommitted: tuple[Promise, ...]
    confused: tuple[str, ...]
    notices: tuple[str, ...]


def node_labels(offering: Offering, flavor: str) -> dict[str, str]:
    """The labels that a flavour's nodes have; a ticket for it selects them."""
    return dict(offering.placements[flavor].labels) or dict(ANYWHERE)


def plan(catalog: Catalog, offering: Offering, farm: Farm, names: Names) -> Plan:
    """Say what there should be for a catalog on a farm."""
    grants = _grants(catalog)
    shares = shared_out(catalog, farm)
    objects: list[Object] = [_topology(names)]
    objects += [_flavor(name, offering, names) for name in shares]
    objects += [_priority(kind, value, names) for kind, value in PRIORITIES.items()]
    objects.append(_cohort(catalog, shares, names))
    for group, held in grants.items():
        objects.append(_cluster_queue(group, held, catalog, shares, names))
        objects.append(_local_queue(group, names))
    confused = _confused(grants, catalog, offering)
    notices = [text for one in shares.values() for text in one.notices()]
    return Plan(tuple(objects), promises(catalog, grants, farm), tuple(confused), tuple(notices))


def _grants(catalog: Catalog) -> dict[str, Mapping[str, GroupFlavor]]:
    """What each group is entitled to; what everyone is, in a queue of its own."""
    found: dict[str, Mapping[str, GroupFlavor]] = {
        str(path): group.flavors for path, group in catalog.groups.items() if group.flavors
    }
    if catalog.everyone.flavors:
        found[EVERYONE] = {name: GroupFlavor() for name in catalog.everyone.flavors}
    return found


def _meta(name: str, names: Names, *, namespace: str = "", group: str = "") -> ObjectMeta:
    meta = ObjectMeta(name=name, labels=names.labels)
    if namespace:
        meta.namespace = namespace
    if group:
        meta.annotations = {GROUP: group}
    return meta


def _topology(names: Names) -> Topology:
    levels = [TopologyLevel(node_label=HOSTNAME)]
    return Topology(metadata=_meta(names.farm, names), spec=TopologySpec(levels=levels))


def _flavor(name: str, offering: Offering, names: Names) -> ResourceFlavor:
    spec = ResourceFlavorSpec(node_labels=node_labels(offering, name), topology_name=names.farm)
    if tolerations := offering.placements[name].tolerations:
        spec.tolerations = [dict(one) for one in tolerations]
    return ResourceFlavor(metadata=_meta(names.flavor(name), names), spec=spec)


def _priority(kind: str, value: int, names: Names) -> WorkloadPriorityClass:
    words = {"notebook": "Somebody waits for it.", "batch": "It yields to notebooks."}
    meta = _meta(names.priority(kind), names)
    return WorkloadPriorityClass(metadata=meta, value=value, description=words[kind])


def _cohort(catalog: Catalog, shares: Mapping[str, Shares], names: Names) -> Cohort:
    meta = _meta(names.farm, names)
    pooled = {name: one for name, one in shares.items() if one.pooled}
    if not pooled:
        return Cohort(metadata=meta)
    amounts = sorted({counted_by(catalog.flavors[name]) for name in pooled})
    flavors = []
    for name, one in pooled.items():
        own = counted_by(catalog.flavors[name])
        quotas = [
            ResourceQuota(name=amount, nominal_quota=Quantity(one.pooled if amount == own else 0))
            for amount in amounts
        ]
        flavors.append(FlavorQuotas(name=names.flavor(name), resources=quotas))
    group = ResourceGroup(covered_resources=amounts, flavors=flavors)
    return Cohort(metadata=meta, spec=CohortSpec(resource_groups=[group]))


def _cluster_queue(
    group: str,
    held: Mapping[str, GroupFlavor],
    catalog: Catalog,
    shares: Mapping[str, Shares],
    names: Names,
) -> ClusterQueue:
    devices = {flavor.resource for name in held if (flavor := catalog.flavors[name]).resource}
    amounts = [*UNBOUNDED, *sorted(one for one in devices if one)]
    flavors = []
    for name in catalog.flavors:
        if name not in held:
            continue
        own = counted_by(catalog.flavors[name])
        quotas = [
            shares[name].quota(own, held[name])
            if amount == own
            else ResourceQuota(name=amount, nominal_quota=UNBOUNDED.get(amount, Quantity(0)))
            for amount in amounts
        ]
        flavors.append(FlavorQuotas(name=names.flavor(name), resources=quotas))
    where = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": [names.namespace]}
    lends = any(shares[name].borrowed for name in held)
    reclaim = PreemptionPolicy.ANY if lends else PreemptionPolicy.LOWER_PRIORITY
    spec = ClusterQueueSpec(
        cohort_name=names.farm,
        queueing_strategy=QueueingStrategy.BEST_EFFORT_FIFO,
        namespace_selector={"matchExpressions": [where]},
        resource_groups=[ResourceGroup(covered_resources=amounts, flavors=flavors)],
        preemption=ClusterQueuePreemption(
            reclaim_within_cohort=reclaim, within_cluster_queue=PreemptionPolicy.LOWER_PRIORITY
        ),
        fair_sharing=FairSharing(weight=Quantity(1)),
    )
    meta = _meta(names.cluster_queue(group), names, group=group)
    return ClusterQueue(metadata=meta, spec=spec)


def _local_queue(group: str, names: Names) -> LocalQueue:
    meta = _meta(names.local_queue(group), names, namespace=names.namespace, group=group)
    return LocalQueue(metadata=meta, spec=LocalQueueSpec(cluster_queue=names.cluster_queue(group)))


def _confused(
    grants: Mapping[str, Mapping[str, GroupFlavor]], catalog: Catalog, offering: Offering
) -> list[str]:
    """Flavours of one queue of which a ticket for one could be admitted on the other."""
    found: dict[str, None] = {}
    for held in grants.values():
        for one, other in itertools.permutations(held, 2):
            first, second = node_labels(offering, one), node_labels(offering, other)
            resource = catalog.flavors[one].resource
            alike = resource in (None, catalog.flavors[other].resource)
            if alike and first.items() <= second.items():
                found[
                    f"flavors.{one}: Kueue cannot tell it from {other}, whose nodes it fits too."
                    f" Give its nodes a label that those of {other} have not."
                ] = None
    return list(found)
