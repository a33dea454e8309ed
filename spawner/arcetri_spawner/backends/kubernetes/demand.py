"""What a pod takes of its node, by the scheduler's own rule.

Cores are counted in thousandths, rounded up; everything else in whole units. The rule, as
Kubernetes documents it for pods:

- containers, and init containers that go on beside them (``restartPolicy: Always``), add up;
- a plain init container runs before the containers but beside those going on that were named
  before it; the pod takes the largest such moment, if it is larger;
- where the pod has requests of its own (pod-level resources), they replace the sum;
- where a container is being resized, it counts by the largest of what is asked, given and set;
- the overhead of the pod's runtime class comes on top.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from arcetri_spawner.backends.kubernetes import quantities

Amounts = dict[str, int]
"""By resource: thousandths of a core for ``cpu``, bytes for memory, else whole units."""

CPU: Final = "cpu"
MEMORY: Final = "memory"
PODS: Final = "pods"
TERMINAL: Final = frozenset({"Succeeded", "Failed"})
"""Phases of pods that take nothing any more."""


def amounts_of(quantities_by_name: Mapping[str, Any] | None) -> Amounts:
    """Read a list of resources; an amount that cannot be read counts as none."""
    found: Amounts = {}
    for name, text in (quantities_by_name or {}).items():
        try:
            found[name] = quantities.millis(text) if name == CPU else quantities.whole(text)
        except ValueError:
            continue
    return found


def demand_of(pod: Mapping[str, Any]) -> Amounts:
    """Return what a pod takes of its node, besides its one place among the node's ``pods``."""
    spec: Mapping[str, Any] = pod.get("spec") or {}
    status: Mapping[str, Any] = pod.get("status") or {}
    infeasible = any(
        condition.get("type") == "PodResizePending" and condition.get("reason") == "Infeasible"
        for condition in status.get("conditions") or ()
    )
    running = _statuses(status, "containerStatuses")
    total: Amounts = {}
    for container in spec.get("containers") or ():
        _add(total, _container(container, running, infeasible=infeasible))
    starting = _statuses(status, "initContainerStatuses")
    beside: Amounts = {}
    most: Amounts = {}
    for container in spec.get("initContainers") or ():
        taken = _container(container, starting, infeasible=infeasible)
        if container.get("restartPolicy") == "Always":
            _add(total, taken)
            _add(beside, taken)
        else:
            _add(taken, beside)
            _raise(most, taken)
    _raise(total, most)
    total |= amounts_of((spec.get("resources") or {}).get("requests"))
    _add(total, amounts_of(spec.get("overhead")))
    return total


def _container(
    container: Mapping[str, Any], statuses: Mapping[str, Mapping[str, Any]], *, infeasible: bool
) -> Amounts:
    resources: Mapping[str, Any] = container.get("resources") or {}
    # A limit without a request is one, as the API server fills in.
    asked = amounts_of(resources.get("limits")) | amounts_of(resources.get("requests"))
    status = statuses.get(str(container.get("name")))
    given = status and status.get("resources")
    if not status or not given:
        return asked
    found: Amounts = {} if infeasible else asked
    _raise(found, amounts_of(given.get("requests")))
    _raise(found, amounts_of(status.get("allocatedResources")))
    return found


def _statuses(status: Mapping[str, Any], key: str) -> dict[str, Mapping[str, Any]]:
    return {str(entry.get("name")): entry for entry in status.get(key) or ()}


def _add(total: Amounts, more: Mapping[str, int]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount


def _raise(total: Amounts, other: Mapping[str, int]) -> None:
    for name, amount in other.items():
        total[name] = max(total.get(name, 0), amount)
