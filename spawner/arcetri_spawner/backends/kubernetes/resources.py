"""What a pod asks of its node: the flavour's one device, the size's cores and memory, no more.

The notebook's requests equal its limits. Memory must, since it cannot be taken back: a session that
was lent more than it asked for is killed, or gets a neighbour evicted, when the node runs short.
Cores could be lent, but a session that is measured and charged by its size should be as fast on a
full node as on an empty one, and only equal numbers give the pod the class *Guaranteed*, which is
evicted last and which the kubelet may give cores of its own, next to the device.
"""

from __future__ import annotations

from arcetri_spawner.backends.kubernetes import quantities
from arcetri_spawner.backends.kubernetes.manifest import Container, Draft, JsonObject, child
from arcetri_spawner.backends.kubernetes.plan import PodPlan

_KINDS = ("requests", "limits")


def demand_resources(draft: Draft, plan: PodPlan) -> None:
    """Give the notebook the size and the device; take every other way to a device."""
    draft.remove(
        draft.spec,
        "resources",
        "spec",
        "The size bounds the notebook; bounds of the whole pod would change what it gets.",
    )
    draft.remove(
        draft.spec,
        "resourceClaims",
        "spec",
        "The flavour says which device a session holds, and the ledger counts no claimed ones.",
    )
    for container in draft.containers():
        _take_devices(draft, container, plan)
    _give(draft, plan)


def _take_devices(draft: Draft, container: Container, plan: PodPlan) -> None:
    if "resources" not in container.body:
        return
    path = f"{container.path}.resources"
    found = child(container.body, "resources", path)
    draft.remove(
        found, "claims", path, "The flavour says which device a session holds, not a claim."
    )
    for kind in _KINDS:
        if kind not in found:
            continue
        amounts = child(found, kind, f"{path}.{kind}")
        for name in [name for name in amounts if plan.rules.is_accelerator(name)]:
            granted = container.notebook and name == plan.flavor.resource
            if not granted or _differs(amounts[name], "1"):
                draft.overrule(
                    f"{path}.{kind}[{name}]",
                    "The flavour says which device a session holds, and only the notebook has it.",
                )
            del amounts[name]


def _give(draft: Draft, plan: PodPlan) -> None:
    notebook = draft.notebook
    path = f"{notebook.path}.resources"
    found = child(notebook.body, "resources", path)
    ours: JsonObject = {
        "cpu": quantities.cores_text(plan.grant.cpu),
        "memory": quantities.bytes_text(plan.grant.memory),
    }
    for kind in _KINDS:
        amounts = child(found, kind, f"{path}.{kind}")
        for name, amount in ours.items():
            if name in amounts and _differs(amounts[name], amount):
                draft.overrule(
                    f"{path}.{kind}[{name}]",
                    "The size says how much a session gets and is charged.",
                )
        amounts |= ours
        if plan.flavor.resource:
            amounts[plan.flavor.resource] = "1"


def _differs(asked: object, ours: str) -> bool:
    if not isinstance(asked, str | int | float):
        return True
    try:
        return quantities.parse(asked) != quantities.parse(ours)
    except ValueError:
        return True
