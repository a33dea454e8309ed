"""What the cluster says of a pod, word for word, for who wants more than a plain sentence.

Pure. Nothing of a pod's specification is in it, and so no environment and no secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from arcetri_spawner.backends.kubernetes.podevents import PodEvent, events_of

_JsonObject = Mapping[str, Any]


def tale(pod: _JsonObject, events: Iterable[_JsonObject] = ()) -> str:
    """Return status, conditions, containers and events of a pod, one a line.

    Args:
        pod: The pod as it is now, or was last.
        events: What is known of it, in any order; others' events do no harm.
    """
    status: _JsonObject = pod.get("status") or {}
    lines = [_of_pod(pod, status)]
    lines += _of_conditions(status)
    for kind in ("initContainerStatuses", "containerStatuses"):
        for entry in status.get(kind) or ():
            lines += _of_container(entry)
    lines += [_of_event(event) for event in events_of(pod, events)]
    return "\n".join(lines)


def _of_pod(pod: _JsonObject, status: _JsonObject) -> str:
    name = (pod.get("metadata") or {}).get("name") or ""
    node = (pod.get("spec") or {}).get("nodeName")
    where = f" on {node}" if node else ""
    return f"pod {name}{where}: {_joined(status.get('phase') or 'Unknown', status)}"


def _of_conditions(status: _JsonObject) -> Iterator[str]:
    for condition in status.get("conditions") or ():
        # What is as it should be says nothing.
        if condition.get("status") != "True" or condition.get("type") == "DisruptionTarget":
            state = f"{condition.get('type')}={condition.get('status')}"
            yield f"condition {_joined(state, condition)}"


def _of_container(entry: _JsonObject) -> Iterator[str]:
    for key, when in (("lastState", "before"), ("state", "now")):
        for state, said in (entry.get(key) or {}).items():
            code = (said or {}).get("exitCode")
            how = state if code is None else f"{state} with {code}"
            yield f"container {entry.get('name')} {when}: {_joined(how, said or {})}"


def _of_event(event: PodEvent) -> str:
    return f"{event.last:%Y-%m-%dT%H:%M:%SZ} {event.reason}: {event.message}"


def _joined(first: object, said: _JsonObject) -> str:
    """A state, and the reason and message that go with it."""
    reason, message = said.get("reason") or "", str(said.get("message") or "").strip()
    text = f"{first} {reason}".strip()
    return f"{text}: {message}" if message else text
