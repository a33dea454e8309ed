"""Changing a Workload's conditions. Pure."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from kueue_client.base import Condition
from kueue_client.enums import ConditionStatus, ConditionType, Reason
from kueue_client.workloads import Workload

Change = tuple[ConditionType, bool, Reason, str]
"""A condition, whether it holds, why, and the same in words."""


def changed(
    found: Workload, *changes: Change, without: Collection[ConditionType] = ()
) -> dict[str, Any]:
    """All of a Workload's conditions, with changes: a merge patch replaces the list as a whole."""
    kept = {one.type: one for one in found.status.conditions if one.type not in without}
    now = datetime.now(UTC)
    for kind, holds, reason, message in changes:
        status = ConditionStatus.TRUE if holds else ConditionStatus.FALSE
        before = kept.get(kind)
        since = before.last_transition_time if before and before.status is status else now
        kept[kind] = Condition(
            type=kind,
            status=status,
            reason=reason,
            message=message,
            last_transition_time=since,
            observed_generation=found.metadata.generation,
        )
    return {"conditions": [one.to_wire() for one in kept.values()]}
