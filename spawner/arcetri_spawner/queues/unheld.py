"""Sessions that run without a place in their queue: pods beside Workloads. Pure.

A hub notices them and puts them in line again. What stays is what Kueue cannot admit any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from arcetri_accounting.contract import podmarks
from arcetri_spawner.backends.kubernetes.kueue.asking import whose
from kueue_client import TicketState, TicketStatus, Workload

_HOLDING = frozenset({TicketState.RESERVED, TicketState.ADMITTED, TicketState.EVICTED})


@dataclass(frozen=True, slots=True)
class Unheld:
    """A session that runs, and holds nothing in its queue."""

    request: UUID
    pod: str
    node: str
    waits: Workload | None
    """What waits in line for its place; None where nothing does."""

    @property
    def code(self) -> str:
        """A stable word for programs."""
        return "no_place" if self.waits is None else "place_given_away"

    @property
    def sentence(self) -> str:
        """How it is."""
        runs = f"Its session runs (pod {self.pod}, node {self.node or 'not known yet'})"
        if self.waits is None:
            return (
                f"{runs} and has no Workload: somebody deleted it. Kueue takes its device for free."
            )
        return (
            f"{runs}, but its Workload waits in line: it was deleted and made anew, and what it"
            " had held is given away or closed by now."
        )

    @property
    def remedy(self) -> str:
        """What to do."""
        if self.waits is None:
            return "The hub makes it anew within a minute or two: see whether the hub runs."
        return (
            "Nothing: it runs on, and who is given its device waits at their place until it ends."
        )


def unheld(pods: Iterable[Mapping[str, Any]], workloads: Iterable[Workload]) -> Iterator[Unheld]:
    """Find the sessions whose pods run or start, and whose Workloads hold nothing.

    Args:
        pods: Of the namespace of sessions.
        workloads: Likewise.
    """
    held = {who.request: one for one in workloads if (who := whose(one)) is not None}
    for pod in pods:
        metadata, spec = pod.get("metadata") or {}, pod.get("spec") or {}
        over = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        if over or metadata.get("deletionTimestamp"):
            continue
        try:
            request = UUID((metadata.get("labels") or {}).get(podmarks.SESSION, ""))
        except ValueError:
            continue
        one = held.get(request)
        if one is None or TicketStatus.of(one).state not in _HOLDING:
            name, node = str(metadata.get("name", "")), str(spec.get("nodeName") or "")
            yield Unheld(request, name, node, one)
