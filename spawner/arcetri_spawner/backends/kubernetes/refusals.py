"""What the API server answers when a pod is to be created, in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from arcetri_spawner.backends.kubernetes.words import OPERATOR, Trouble
from arcetri_spawner.policy.names import shown
from arcetri_spawner.policy.wording import listed

_QUOTA = re.compile(
    r"exceeded quota: (?P<name>[^,]+), requested: (?P<requested>.*?), used: (?P<used>.*?),"
    r" limited: (?P<limited>.*)",
    re.DOTALL,
)
_QUOTA_NEEDS = re.compile(r"failed quota: [^:]+: must specify (?P<what>.*)", re.DOTALL)
_RESOURCES = {
    "pods": "pods",
    "cpu": "cores",
    "memory": "memory",
    "storage": "storage",
    "ephemeral-storage": "disk",
}
_RULES = re.compile(r'violates PodSecurity "(?P<level>[^"]+)": (?P<rules>.*)', re.DOTALL)
_WEBHOOK = re.compile(r'admission webhook "(?P<name>[^"]+)" denied the request')


def refusal(status: int, body: Mapping[str, Any] | str) -> Trouble:
    """Return why a pod, or what belongs to it, was not created.

    Args:
        status: The HTTP status of the answer; 409 means that it is there already, and is none.
        body: The answer: the API's Status object, or whatever else came.
    """
    message = str(body.get("message", "")) if isinstance(body, Mapping) else str(body)
    return _why(status, message).saying(f"{status}: {message}")


def cluster_away(details: str = "") -> Trouble:
    """The API server gives no answer.

    Args:
        details: What the client said of it.
    """
    return Trouble(
        "The cluster does not answer, so nothing new can be started.",
        code="cluster_away",
        remedy="Sessions that run go on. Start again in a few minutes.",
        final=False,
    ).saying(details)


def _why(status: int, message: str) -> Trouble:
    if "failed calling webhook" in message:
        return _webhook_away()
    if status in (0, 408, 429) or status >= 500:
        return cluster_away()
    if match := _QUOTA.search(message):
        return _quota_exceeded(match["requested"])
    if match := _RULES.search(message):
        return _pod_security(match["level"])
    if match := _WEBHOOK.search(message):
        return _webhook_refused(match["name"])
    if _QUOTA_NEEDS.search(message) or re.search(r"(?:maximum|minimum) \S+ usage per", message):
        return _limits_exceeded()
    if re.search(r'User "[^"]*" cannot ', message) or status == 401:
        return _hub_not_allowed()
    if status in (400, 422):
        return _pod_invalid()
    return _cluster_refused()


def _quota_exceeded(requested: str) -> Trouble:
    what = listed(
        dict.fromkeys(_resource(part.partition("=")[0]) for part in requested.split(",")),
        last="and",
    )
    return Trouble(
        f"All sessions together have as much as the cluster allows them: {what}.",
        code="quota_exceeded",
        remedy="Start again when another session has ended. The operator can raise the namespace's"
        " ResourceQuota.",
        final=False,
    )


def _resource(name: str) -> str:
    bare = name.strip().removeprefix("requests.").removeprefix("limits.")
    return _RESOURCES.get(bare, bare)


def _pod_security(level: str) -> Trouble:
    return Trouble(
        f'The cluster refused the session for its Pod Security level "{shown(level)}".',
        code="pod_security",
        remedy=f"Nothing that you chose is wrong: {OPERATOR}",
    )


def _webhook_refused(name: str) -> Trouble:
    return Trouble(
        f'A rule of the cluster ("{shown(name)}") refused the session.',
        code="webhook_refused",
        remedy=f"Nothing that you chose is wrong: {OPERATOR}",
    )


def _webhook_away() -> Trouble:
    return Trouble(
        "A part of the cluster that checks new sessions does not answer.",
        code="cluster_away",
        remedy="Sessions that run go on. Start again in a few minutes.",
        final=False,
    )


def _limits_exceeded() -> Trouble:
    return Trouble(
        "The cluster's limits for one session do not allow this size.",
        code="limits_exceeded",
        remedy="Choose another size. The operator makes the namespace's LimitRange and"
        " ResourceQuota fit the sizes of profiles.yaml.",
    )


def _hub_not_allowed() -> Trouble:
    return Trouble(
        "The platform itself has no permission to start sessions on the cluster.",
        code="hub_not_allowed",
        remedy=f"Nothing that you chose is wrong: {OPERATOR}",
    )


def _pod_invalid() -> Trouble:
    return Trouble(
        "The cluster cannot make a session of what the platform's configuration asks for.",
        code="pod_invalid",
        remedy=f"Nothing that you chose is wrong: {OPERATOR}",
    )


def _cluster_refused() -> Trouble:
    return Trouble(
        "The cluster refused to start the session.",
        code="cluster_refused",
        remedy=f"Start again. If it is refused again: {OPERATOR}",
    )
