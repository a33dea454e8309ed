"""What the cluster reports of a pod, whichever of its two kinds of event objects says it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

_CONTAINER = re.compile(r"\{([^}]+)\}")
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PodEvent:
    """One report, as often as it was repeated."""

    reason: str
    message: str
    first: datetime
    last: datetime
    container: str = ""
    """Which container it is about, where it says so."""


def events_of(pod: Mapping[str, Any], events: Iterable[Mapping[str, Any]]) -> list[PodEvent]:
    """Return the events that are about this very pod, those that were first reported first.

    Args:
        pod: The pod; its uid decides, so that another pod of the same name is not meant.
        events: Event objects of ``v1`` or ``events.k8s.io/v1``, in any order.
    """
    uid = (pod.get("metadata") or {}).get("uid")
    found = [
        _read(event)
        for event in events
        if (event.get("involvedObject") or event.get("regarding") or {}).get("uid", uid) == uid
    ]
    return sorted(found, key=lambda event: (event.first, event.last))


def moment(text: object) -> datetime:
    """Read a time as the API server writes it; one that is missing is long ago."""
    if not isinstance(text, str) or not text:
        return _LONG_AGO
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return _LONG_AGO
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def _read(event: Mapping[str, Any]) -> PodEvent:
    times = [
        moment(event.get(key))
        for key in (
            "firstTimestamp",
            "deprecatedFirstTimestamp",
            "eventTime",
            "lastTimestamp",
            "deprecatedLastTimestamp",
        )
    ]
    times.append(moment((event.get("series") or {}).get("lastObservedTime")))
    known = [time for time in times if time > _LONG_AGO]
    known = known or [moment((event.get("metadata") or {}).get("creationTimestamp"))]
    about = event.get("involvedObject") or event.get("regarding") or {}
    container = _CONTAINER.search(str(about.get("fieldPath") or ""))
    return PodEvent(
        reason=str(event.get("reason") or ""),
        message=str(event.get("message") or event.get("note") or ""),
        first=min(known),
        last=max(known),
        container=container[1] if container else "",
    )
