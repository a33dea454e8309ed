"""What the objects of one installation's queues are called, and how they are known. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from arcetri_accounting.contract import podmarks
from arcetri_spawner.backends.kubernetes.names import dns_label, label_value

MANAGER: Final = "arcetri-queues"
"""Who owns the fields that are set, and every object that carries its label."""
GROUP: Final = podmarks.GROUP
"""The annotation with a group's path."""
DIGEST: Final = f"{podmarks.DOMAIN}/queues-digest"
"""The annotation with what an object was made from."""
_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
_INSTANCE: Final = "app.kubernetes.io/instance"


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one installation: of several on a cluster, each has its own."""

    instance: str
    namespace: str
    """Where the sessions are, and so the LocalQueues."""

    @property
    def labels(self) -> dict[str, str]:
        """The labels of every object; who has them all is ours."""
        return {
            "app.kubernetes.io/name": "arcetri",
            _INSTANCE: label_value(self.instance),
            "app.kubernetes.io/component": "queues",
            _MANAGED_BY: MANAGER,
        }

    @property
    def selector(self) -> str:
        """The label selector of what is ours."""
        return f"{_MANAGED_BY}={MANAGER},{_INSTANCE}={label_value(self.instance)}"

    @property
    def farm(self) -> str:
        """The cohort, and the topology."""
        return dns_label(self.instance)

    def flavor(self, flavor: str) -> str:
        """A flavour's ResourceFlavor."""
        return dns_label(f"{self.instance}-{flavor}")

    def cluster_queue(self, group: str) -> str:
        """A group's ClusterQueue."""
        return dns_label(f"{self.instance}:{group}")

    def local_queue(self, group: str) -> str:
        """A group's LocalQueue; never ``default``, which would take pods that name no queue."""
        return dns_label(group, "group-")

    def priority(self, kind: str) -> str:
        """The WorkloadPriorityClass of requests of a kind."""
        return dns_label(f"{self.instance}-{kind}")
