"""What there is to share: flavors of resources, and where they are."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from kueue_client.base import JsonObject, Model, Object

HOSTNAME = "kubernetes.io/hostname"
"""The label of a node's name: the lowest level a topology can have."""


class ResourceFlavorSpec(Model):
    """Which nodes a flavor stands for."""

    node_labels: dict[str, str] = Field(default_factory=dict)
    node_taints: list[JsonObject] = Field(default_factory=list)
    tolerations: list[JsonObject] = Field(default_factory=list)
    topology_name: str | None = None


class ResourceFlavor(Object):
    """A kind of nodes that quotas speak of."""

    plural: ClassVar[str] = "resourceflavors"
    spec: ResourceFlavorSpec = Field(default_factory=ResourceFlavorSpec)


class TopologyLevel(Model):
    """One level of a topology."""

    node_label: str


class TopologySpec(Model):
    """The levels, from the coarsest to the finest."""

    levels: list[TopologyLevel]


class Topology(Object):
    """How nodes are grouped; with the hostname alone, Kueue knows what fits on which node."""

    plural: ClassVar[str] = "topologies"
    spec: TopologySpec | None = None


class WorkloadPriorityClass(Object):
    """A name for a Workload's priority; the higher its value, the sooner."""

    plural: ClassVar[str] = "workloadpriorityclasses"
    value: int
    description: str = ""
