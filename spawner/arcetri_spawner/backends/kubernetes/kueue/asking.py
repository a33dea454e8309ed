"""What a request asks of Kueue, and whose a Workload is. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from arcetri_accounting.contract import podmarks
from arcetri_spawner.backends.kubernetes import quantities
from arcetri_spawner.backends.kubernetes.demand import CPU, MEMORY, amounts_of
from arcetri_spawner.backends.kubernetes.manifest import JsonObject
from arcetri_spawner.backends.kubernetes.names import label_value
from arcetri_spawner.backends.kubernetes.offering import Offering
from arcetri_spawner.backends.kubernetes.placement import required_terms
from arcetri_spawner.backends.kubernetes.site import Need
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy.model import Grant
from arcetri_spawner.queues.names import Names
from arcetri_spawner.queues.plan import ANYWHERE, PRIORITIES, UNBOUNDED
from kueue_client import HOSTNAME, Asked, Workload

TICKET: Final = "request-"
"""What the name of every request's Workload begins with."""
ASIDE: Final = f"{podmarks.DOMAIN}/set-aside"
"""Annotation: why the platform has a request stand in no line."""
_NAME: Final = re.compile(f"{TICKET}[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}")


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose request a Workload is."""

    request: UUID
    group: GroupPath
    flavor: str


def ticket_name(request: UUID) -> str:
    """What a request's Workload is called: by the request alone, so that there is never another.

    One that has gone back in line has the Workload of the first that stood at its place; see
    ``place_name``.
    """
    return f"{TICKET}{request}"


def place_name(grant: Grant) -> str:
    """What the Workload of a granted request is called: its age is the place in line.

    Whose it is at the moment its label says.
    """
    return ticket_name((*grant.earlier, grant.request_id)[0])


def set_aside(*, aside: bool) -> Mapping[str, object]:
    """A change by which a Workload stands in no line while its flavour is maintained, or does."""
    mark = "maintenance" if aside else None
    return {"metadata": {"annotations": {ASIDE: mark}}, "spec": {"active": not aside}}


def is_set_aside(workload: Workload) -> bool:
    """Whether the platform itself has a Workload stand in no line."""
    return ASIDE in workload.metadata.annotations


def handed_over(request: UUID) -> Mapping[str, object]:
    """A change by which a Workload is another request's, at the same place."""
    return {"metadata": {"labels": {podmarks.SESSION: str(request)}}}


def selector(instance: str) -> str:
    """The label selector of one platform's Workloads."""
    return f"{podmarks.INSTANCE}={label_value(instance)}"


def asked(grant: Grant, offering: Offering, names: Names, instance: str) -> Asked:
    """What a granted request asks for: what its pod will take, on the flavour's nodes.

    What the site adds to every pod counts, so that what is admitted fits its node.

    Args:
        grant: The request.
        offering: The catalog of the moment, with what the site adds.
        names: What the queues are called.
        instance: Which platform asks.

    Raises:
        KeyError: The catalog has the flavour no longer.
    """
    flavor, placement = offering.flavors[grant.flavor], offering.placements[grant.flavor]
    return Asked(
        queue=names.local_queue(grant.group),
        requests=_requests(offering.need_of(grant), flavor.resource),
        # The catalog's labels tell Kueue the flavour; what the site demands besides, the nodes.
        node_selector={**(flavor.nodes or ANYWHERE), **placement.labels},
        node_terms=placement.terms,
        tolerations=placement.tolerations,
        priority_class=names.priority(grant.kind),
        priority=PRIORITIES[grant.kind],
        topology=HOSTNAME,
        labels=_labels(grant, instance),
        annotations={podmarks.GROUP: grant.group},
    )


def _requests(need: Need, resource: str | None) -> dict[str, str]:
    """What a pod takes, as far as the queues cover it: another resource would wait for ever."""
    amounts = {CPU: quantities.millis_text(need.cpu), MEMORY: quantities.bytes_text(need.memory)}
    for name, amount in need.more.items():
        if name in UNBOUNDED:
            amounts[name] = quantities.bytes_text(amount)
    if resource:
        amounts[resource] = "1"
    return amounts


def need_of(workload: Workload) -> Need:
    """What a request's pod takes of its node besides its device, by what its Workload asks for."""
    asks: dict[str, str] = {}
    for pods in workload.spec.pod_sets:
        for container in pods.template.get("spec", {}).get("containers", ()):
            asks |= container.get("resources", {}).get("requests", {})
    amounts = amounts_of(asks)
    more = {name: n for name, n in amounts.items() if name in UNBOUNDED.keys() - {CPU, MEMORY}}
    return Need(amounts.get(CPU, 0), amounts.get(MEMORY, 0), more)


def only_on(terms: Sequence[JsonObject], nodes: Sequence[str]) -> list[JsonObject]:
    """Node affinity terms that are met by these nodes alone, where the terms are met besides."""
    only = {"key": HOSTNAME, "operator": "In", "values": list(nodes)}
    # One term that matches is enough, so that each needs it.
    return [
        {**term, "matchExpressions": [*term.get("matchExpressions", ()), only]}
        for term in terms or [{}]
    ]


def nodes_of(workload: Workload) -> frozenset[str] | None:
    """The nodes that a Workload was bound to by ``only_on``; None where it was not."""
    for pods in workload.spec.pod_sets:
        for term in required_terms(dict(pods.template.get("spec", {}))):
            for one in term.get("matchExpressions", ())[-1:]:
                if one.get("key") == HOSTNAME and one.get("operator") == "In":
                    return frozenset(one.get("values", ()))
    return None


def _labels(grant: Grant, instance: str) -> Mapping[str, str]:
    return {
        podmarks.SESSION: str(grant.request_id),
        podmarks.INSTANCE: label_value(instance),
        podmarks.GROUP: label_value(grant.group),
        podmarks.FLAVOR: grant.flavor,
        podmarks.KIND: grant.kind,
    }


def whose(workload: Workload) -> Whose | None:
    """Whose request a Workload is; None where it is no request of a platform's."""
    labels = workload.metadata.labels
    try:
        request = UUID(labels.get(podmarks.SESSION, ""))
    except ValueError:
        return None
    if not _NAME.fullmatch(workload.name):
        return None
    group = workload.metadata.annotations.get(podmarks.GROUP, "")
    return Whose(request, GroupPath(group), labels.get(podmarks.FLAVOR, ""))
