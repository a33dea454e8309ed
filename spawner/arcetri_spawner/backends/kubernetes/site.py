"""What a site's settings of KubeSpawner add to every session, as far as nodes are concerned.

The pod itself gets all of it from its own manifest. Here it is read beforehand, from the manifest
of a session that nobody starts, so that what is counted as free is what such a pod can have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from arcetri_spawner.backends.kubernetes.demand import CPU, MEMORY, Amounts, demand_of
from arcetri_spawner.backends.kubernetes.manifest import Draft, JsonObject, children
from arcetri_spawner.backends.kubernetes.placement import Placement, required_terms
from arcetri_spawner.backends.kubernetes.plan import Rules
from arcetri_spawner.catalog.models import Flavor


@dataclass(frozen=True, slots=True)
class Need:
    """What a session takes of a node, besides its device and its place among the node's pods."""

    cpu: int
    """Thousandths of a core."""
    memory: int
    """Bytes."""
    more: Mapping[str, int] = field(default_factory=dict)
    """Of other resources, such as ``ephemeral-storage``, in whole units."""

    @property
    def amounts(self) -> Amounts:
        """All of it, by resource."""
        return {CPU: self.cpu, MEMORY: self.memory, **self.more}


@dataclass(frozen=True, slots=True)
class Site:
    """What the site demands of nodes, and takes of them, for every session.

    Make it with ``Site.of``; without anything it is a site that adds nothing.
    """

    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[JsonObject, ...] = ()
    terms: tuple[JsonObject, ...] = ()
    """Of the node affinity that is required, one of which a node must match; none: any node."""
    notebook: JsonObject = field(default_factory=dict)
    """What the notebook's container asks for besides the size and the device."""
    beside: tuple[JsonObject, ...] = ()
    """The containers that the site adds."""
    before: tuple[JsonObject, ...] = ()
    """The init containers that the site adds."""

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Site:
        """Read a pod as KubeSpawner makes it, before policy is laid over it.

        Raises:
            BadManifest: It is not shaped as a pod.
        """
        draft = Draft(manifest)
        selector = draft.spec.get("nodeSelector") or {}
        return cls(
            node_selector={str(key): str(value) for key, value in selector.items()},
            tolerations=tuple(children(draft.spec, "tolerations", "spec.tolerations")),
            terms=tuple(required_terms(draft.spec)),
            notebook=draft.notebook.body,
            beside=tuple(one.body for one in draft.containers() if not one.init)[1:],
            before=tuple(one.body for one in draft.containers() if one.init),
        )

    def place(self, flavor: Flavor, rules: Rules) -> Placement:
        """Where a flavour's sessions go."""
        return Placement.of(
            flavor,
            node_selector=self.node_selector,
            tolerations=self.tolerations,
            reserved=rules.taints,
            terms=self.terms,
        )

    def need(self, cpu: int, memory: int, rules: Rules) -> Need:
        """What a session takes of its node, by the scheduler's own rule.

        Args:
            cpu: The size's, in thousandths of a core.
            memory: The size's, in bytes.
            rules: Which resources are accelerators: policy gives the notebook its one, and takes
                all others from every container.
        """
        resources = self.notebook.get("resources") or {}
        asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
        notebook = {"requests": {**asked, CPU: f"{cpu}m", MEMORY: str(memory)}}
        taken = demand_of(
            {
                "spec": {
                    "containers": [{"resources": notebook}, *self.beside],
                    "initContainers": self.before,
                }
            }
        )
        return Need(
            taken.pop(CPU),
            taken.pop(MEMORY),
            {name: n for name, n in taken.items() if n and not rules.is_accelerator(name)},
        )
