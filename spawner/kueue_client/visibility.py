"""Kueue's visibility API: who waits, in which order."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from kueue_client.base import Model, ObjectMeta

VISIBILITY_GROUP = "visibility.kueue.x-k8s.io"


class PendingWorkload(Model):
    """A Workload that waits; positions are counted from 0."""

    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    priority: int
    local_queue_name: str
    position_in_cluster_queue: int
    position_in_local_queue: int


def _none_is_no_items(value: object) -> object:
    return [] if value is None else value


class PendingWorkloadsSummary(Model):
    """Workloads that wait, in their order."""

    kind_name: ClassVar[str] = "PendingWorkloadsSummary"

    api_version: str = f"{VISIBILITY_GROUP}/v1beta2"
    kind: str = kind_name
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    items: Annotated[list[PendingWorkload], BeforeValidator(_none_is_no_items)]
