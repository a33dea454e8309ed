"""Requests whose turn has come, and that nobody starts: Workloads without pods. Pure.

The queue has done its part; why the hub has not is known to the hub alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from arcetri_accounting.contract import podmarks
from arcetri_spawner.backends.kubernetes.kueue.asking import whose
from kueue_client import TicketState, TicketStatus, Workload

SOON: Final = timedelta(minutes=1)
"""For so long it is nothing remarkable: a hub that is there makes a pod within seconds."""


@dataclass(frozen=True, slots=True)
class Unstarted:
    """A request that is admitted, and has no pod."""

    request: UUID
    node: str
    """Empty where the queue names none."""
    since: datetime

    @property
    def code(self) -> str:
        """A stable word for programs."""
        return "not_started"

    @property
    def sentence(self) -> str:
        """How it is."""
        where = f" to {self.node}" if self.node else ""
        return (
            f"It is admitted{where} since {self.since:%Y-%m-%d %H:%M:%S} UTC, and the hub has not"
            " started it: it has no pod."
        )

    @property
    def remedy(self) -> str:
        """What to do."""
        return (
            "Its page and the hub's log say why: IAM may be silent, its user's login over, or their"
            " limit of sessions reached. See whether the hub runs: it gives the place to the next"
            " in line after the catalog's defaults.hold."
        )


def unstarted(
    pods: Iterable[Mapping[str, Any]], workloads: Iterable[Workload], now: datetime
) -> Iterator[Unstarted]:
    """Find the requests that are admitted for a while, and have no pod.

    Args:
        pods: Of the namespace of sessions.
        workloads: Likewise.
        now: What time it is.
    """
    begun = {
        ((pod.get("metadata") or {}).get("labels") or {}).get(podmarks.SESSION) for pod in pods
    }
    for one in workloads:
        who, status = whose(one), TicketStatus.of(one)
        if who is None or str(who.request) in begun or status.ready or status.admitted is None:
            continue
        if status.state is TicketState.ADMITTED and now - status.admitted.since > SOON:
            yield Unstarted(who.request, status.admitted.node or "", status.admitted.since)
