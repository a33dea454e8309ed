"""What a pod takes of its node, by the scheduler's own rule.

Cores are counted in thousandths, rounded up; everything else in whole units. The rule, as
Kubernetes documents it for pods:

- containers, and init containers that go on beside them (``restartPolicy: Always``), add up;
- a plain init container runs before the containers but beside those going on that were named
  before it; the pod takes the largest such moment, if it is larger;
- where the pod has requests of its own (pod-level resources), they replace the sum;
- where a container or a pod is being resized, the largest of what is asked, given and set counts;
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
    statuses = {
        str(entry.get("name")): entry
        for key in ("containerStatuses", "initContainerStatuses")
        for entry in status.get(key) or ()
    }

    def resized(container: Mapping[str, Any]) -> Amounts:
        given = statuses.get(str(container.get("name"))) or {}
        return _resized(_asked(container), given, infeasible=infeasible)

    total: Amounts = {}
    for container in spec.get("containers") or ():
        _add(total, resized(container))
    beside: Amounts = {}
    most: Amounts = {}
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            taken = resized(container)
            _add(total, taken)
            _add(beside, taken)
        else:
            taken = _asked(container)
            _add(taken, beside)
            _raise(most, taken)
    _raise(total, most)
    whole = amounts_of((spec.get("resources") or {}).get("requests"))
    if whole:
        now = _resized(whole, status, infeasible=infeasible)
        total |= {name: now.get(name, 0) for name in whole if _is_a_pods(name)}
    _add(total, amounts_of(spec.get("overhead")))
    return total


def _asked(container: Mapping[str, Any]) -> Amounts:
    resources: Mapping[str, Any] = container.get("resources") or {}
    # A limit without a request is one, as the API server fills in.
    return amounts_of(resources.get("limits")) | amounts_of(resources.get("requests"))


def _resized(asked: Amounts, status: Mapping[str, Any], *, infeasible: bool) -> Amounts:
    """What counts of a request, by the status of the container, or pod, whose it is."""
    given = status.get("resources")
    if not given:
        return asked
    found: Amounts = {} if infeasible else dict(asked)
    _raise(found, amounts_of(given.get("requests")))
    _raise(found, amounts_of(status.get("allocatedResources")))
    return found


def _is_a_pods(resource: str) -> bool:
    return resource in (CPU, MEMORY) or resource.startswith("hugepages-")


def _add(total: Amounts, more: Mapping[str, int]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount


def _raise(total: Amounts, other: Mapping[str, int]) -> None:
    for name, amount in other.items():
        total[name] = max(total.get(name, 0), amount)
