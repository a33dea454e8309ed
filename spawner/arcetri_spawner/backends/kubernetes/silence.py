"""Whether a session's node gives an answer, and what becomes of the session while it gives none.

Pure. A silent node proves nothing: it may have lost its power or only its network, and then its
pods run on. So silence alone ends no session. The cluster gives a pod up after a time that the pod
itself bears (``tolerationSeconds``): from then on the node, should it come back, ends the pod, so
that the session is lost whatever happens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from arcetri_spawner.backends.base import Away
from arcetri_spawner.backends.kubernetes.placement import tolerates

_Object = Mapping[str, Any]
_TAINTS: Final = {
    "Unknown": "node.kubernetes.io/unreachable",
    "False": "node.kubernetes.io/not-ready",
}
"""By the status of its condition ``Ready``: the taint that a node gets."""


def answers(node: _Object | None) -> bool:
    """Whether a node says of itself that it is well; one that is not there says nothing."""
    return _ready(node).get("status") == "True"


def away_of(pod: _Object, node: _Object | None) -> Away | None:
    """Return what is to be known of a pod whose node gives no answer; None where it does.

    Args:
        pod: The session's; one that is on no node yet has none that could be silent.
        node: Its node as it is now; None where there is none any more.
    """
    name = (pod.get("spec") or {}).get("nodeName")
    if not name or answers(node):
        return None
    ready = _ready(node)
    since = _moment(ready.get("lastTransitionTime"))
    return Away(
        str(name), since, _given_up(pod, node, since), refuses=ready.get("status") == "False"
    )


def is_marked(pod: _Object) -> bool:
    """Whether somebody has asked for the end of a pod, which cannot be taken back."""
    return bool((pod.get("metadata") or {}).get("deletionTimestamp"))


def grace_of(pod: _Object) -> float:
    """Seconds that a pod which is to end has for it; none where the cluster has given it up."""
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            return 0.0
    return float((pod.get("metadata") or {}).get("deletionGracePeriodSeconds") or 0)


def _given_up(pod: _Object, node: _Object | None, since: datetime | None) -> datetime | None:
    """About when the cluster marks a pod for deletion; None where it never does."""
    taints = [
        taint
        for taint in ((node or {}).get("spec") or {}).get("taints") or ()
        if taint.get("effect") == "NoExecute"
    ]
    status = str(_ready(node).get("status") or "Unknown")
    if not any(taint.get("key") in _TAINTS.values() for taint in taints):
        # It gets it within a moment.
        taints.append({"key": _TAINTS.get(status, _TAINTS["Unknown"]), "effect": "NoExecute"})
    tolerations = (pod.get("spec") or {}).get("tolerations") or ()
    ends = [_borne(taint, tolerations, since) for taint in taints]
    return min((end for end in ends if end is not None), default=None)


def _borne(
    taint: _Object, tolerations: Iterable[_Object], since: datetime | None
) -> datetime | None:
    """Until when a pod bears a taint; None for ever, or where nothing says since when."""
    begun = _moment(taint.get("timeAdded")) or since
    fitting = [one for one in tolerations if tolerates(one, taint)]
    spans = [one["tolerationSeconds"] for one in fitting if "tolerationSeconds" in one]
    if begun is None or (fitting and not spans):
        return None
    return begun + timedelta(seconds=max(min(spans, default=0), 0))


def _ready(node: _Object | None) -> _Object:
    conditions = ((node or {}).get("status") or {}).get("conditions") or ()
    return next((one for one in conditions if one.get("type") == "Ready"), {})


def _moment(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
