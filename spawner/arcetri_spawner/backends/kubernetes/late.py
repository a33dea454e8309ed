"""Why a start took longer than it may, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from arcetri_spawner.backends.kubernetes.podevents import events_of
from arcetri_spawner.backends.kubernetes.words import Trouble


def too_late(
    pod: Mapping[str, Any] | None, events: Iterable[Mapping[str, Any]], seconds: float
) -> Trouble:
    """Return what to say of a start that is given up, and of which nothing else is known.

    Args:
        pod: The pod as it is now; None where it was not seen yet.
        events: What is known of it, in any order.
        seconds: How long it took.
    """
    if pod is not None and _is_pulling(pod, events):
        return Trouble(
            f"After {seconds:.0f} seconds the node was still fetching the environment's image.",
            code="image_slow",
            remedy="Start again in some minutes, or choose another environment. What the node has"
            " fetched it keeps. An admin may have images fetched beforehand, or raise how long a"
            " start may take.",
        )
    return Trouble(
        f"The notebook server did not answer within {seconds:.0f} seconds.",
        code="server_silent",
        remedy="Start again. If it ends the same way, choose another environment.",
    )


def _is_pulling(pod: Mapping[str, Any], events: Iterable[Mapping[str, Any]]) -> bool:
    """Whether an image was begun to be fetched that is not there yet."""
    about = [one.reason for one in events_of(pod, events) if one.reason in ("Pulling", "Pulled")]
    return bool(about) and about[-1] == "Pulling"
