"""The steps of a start, in words, from a pod and what the cluster reports of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from arcetri_accounting.contract.podmarks import NOTEBOOK_CONTAINER
from arcetri_spawner.backends.base import Event
from arcetri_spawner.backends.kubernetes.podevents import PodEvent, events_of, moment
from arcetri_spawner.backends.kubernetes.scheduling import no_room
from arcetri_spawner.backends.kubernetes.trouble import pod_trouble
from arcetri_spawner.policy.names import shown

_IMAGE = re.compile(r'image "([^"]+)"')
_TOOK = re.compile(r"pulled image .* in (\S+)")
_ASKED: Final = 10
_PLACED: Final = 25
_STORAGE: Final = 30
_PULLING: Final = 40
_PULLED: Final = 60
_STARTED: Final = 80


def steps_of(pod: Mapping[str, Any], events: Iterable[Mapping[str, Any]] = ()) -> tuple[Event, ...]:
    """Return what has happened so far in a start, each step once, oldest first.

    The percentage never goes back. Further calls with more events give the same steps and some
    more, except that a trouble is told while it lasts; so tell what was not told yet.

    Args:
        pod: The pod as it is now.
        events: What is known of it, in any order.
    """
    listed = list(events)
    said = events_of(pod, listed)
    found = [_asked(pod)]
    placed = _placed(pod)
    if placed is not None:
        found.append(placed)
    found += [step for event in said if (step := _step(event)) is not None]
    trouble = pod_trouble(pod, listed)
    if trouble is not None and trouble.code != "no_room":
        last = max((event.last for event in said), default=found[-1].at)
        found.append(Event(last, 0, trouble.sentence, trouble.details))
    found.sort(key=lambda step: step.at)
    return tuple(_told_once(found))


def _asked(pod: Mapping[str, Any]) -> Event:
    created = moment((pod.get("metadata") or {}).get("creationTimestamp"))
    return Event(created, _ASKED, "The cluster was asked for the session; it looks for a node.")


def _placed(pod: Mapping[str, Any]) -> Event | None:
    node = (pod.get("spec") or {}).get("nodeName")
    if not node:
        return None
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "True":
            at = moment(condition.get("lastTransitionTime"))
            return Event(at, _PLACED, f"The session has a place on the node {shown(str(node))}.")
    return None


def _step(event: PodEvent) -> Event | None:
    match event.reason:
        case "FailedScheduling":
            return _at(event, _ASKED, no_room(event.message).sentence)
        case "TriggeredScaleUp":
            return _at(
                event, _ASKED, "The cluster adds a node for the session. This takes some minutes."
            )
        case "SuccessfulAttachVolume":
            return _at(event, _STORAGE, "The session's storage is attached to the node.")
        case "Pulling":
            return _at(
                event,
                _PULLING,
                f"The node fetches the image{_image(event)}. The first time on a node this can take"
                " some minutes.",
            )
        case "Pulled":
            took = _TOOK.search(event.message)
            how = f" after {took[1]}" if took else ""
            return _at(event, _PULLED, f"The image is on the node{how}.")
        case "Started":
            if (event.container or event.message.rpartition(" ")[2]) == NOTEBOOK_CONTAINER:
                return _at(event, _STARTED, "The notebook server was started; soon it answers.")
    return None


def _at(event: PodEvent, percent: int, message: str) -> Event:
    return Event(event.first, percent, message, event.message)


def _image(event: PodEvent) -> str:
    named = _IMAGE.search(event.message)
    return f' "{shown(named[1], 120)}"' if named else ""


def _told_once(steps: Iterable[Event]) -> Iterable[Event]:
    told: set[str] = set()
    percent = 0
    for step in steps:
        if step.message in told:
            continue
        told.add(step.message)
        percent = max(percent, step.percent)
        yield Event(step.at, percent, step.message, step.details)
