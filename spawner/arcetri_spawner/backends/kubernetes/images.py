"""Why an image cannot be had: what registries and runtimes say, in words."""

from __future__ import annotations

import re
from typing import Final

from arcetri_spawner.backends.kubernetes.words import OPERATOR, Trouble
from arcetri_spawner.policy.names import shown

PULL_FAILURES: Final = frozenset(
    {
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImageInspectError",
        "ImagePullBackOff",
        "InvalidImageName",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
"""Reasons for which a container waits that are about its image."""

_DISK = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_AWAY = re.compile(
    r"i/o timeout|connection (?:refused|reset)|no such host|no route to host|network is unreachable"
    r"|deadline exceeded|TLS handshake|x509|HTTP response to HTTPS|server misbehaving"
    r"|too ?many ?requests|unexpected EOF|\b(?:429|50[0-4])\b",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"unauthorized|access denied|denied:|authentication required|no basic auth|authorization failed"
    r"|insufficient.scope|forbidden|failed to authorize|\b40[13]\b",
    re.IGNORECASE,
)
_MISSING = re.compile(
    r"not found|manifest unknown|name unknown|does not exist|no such image|not present with pull"
    r"|\b404\b",
    re.IGNORECASE,
)


def image_trouble(reason: str, said: str, image: str) -> Trouble:
    """Return what keeps an image from a node.

    Args:
        reason: Why the container waits, one of ``PULL_FAILURES``.
        said: All that was said of it; the cause may be in one message only.
        image: The image as it was asked for.
    """
    return _cause(reason, said.replace(image, ""), shown(image, 200)).saying(said)


def _cause(reason: str, said: str, image: str) -> Trouble:
    if reason == "InvalidImageName":
        return _name_invalid(image)
    # What keeps the node from asking comes first: it cannot know the rest then.
    if _DISK.search(said):
        return _node_disk_full()
    if reason == "RegistryUnavailable" or _AWAY.search(said):
        return _registry_away(image)
    if _DENIED.search(said):
        return _denied(image)
    if reason == "ErrImageNeverPull" or _MISSING.search(said):
        return _missing(image)
    return _failed(image)


def _missing(image: str) -> Trouble:
    return Trouble(
        f'There is no image "{image}".',
        code="image_missing",
        remedy="Choose another environment. An admin corrects the environment's image in"
        " profiles.yaml, or pushes that image.",
    )


def _denied(image: str) -> Trouble:
    return Trouble(
        f'The registry does not let the cluster have the image "{image}"; where it hides what it'
        " does not give, there may be no such image.",
        code="image_denied",
        remedy="Choose another environment. The operator gives the cluster access to the image"
        " (imagePullSecrets), or an admin corrects its name in profiles.yaml.",
    )


def _name_invalid(image: str) -> Trouble:
    return Trouble(
        f'"{image}" cannot be the name of an image.',
        code="image_name_invalid",
        remedy="Choose another environment. An admin corrects the environment's image in"
        " profiles.yaml.",
    )


def _registry_away(image: str) -> Trouble:
    return Trouble(
        f'The registry of the image "{image}" does not answer the node.',
        code="registry_away",
        remedy=f"The node goes on trying. If it lasts for minutes: {OPERATOR}",
        final=False,
    )


def _failed(image: str) -> Trouble:
    return Trouble(
        f'The node could not fetch the image "{image}".',
        code="image_failed",
        remedy=f"Choose another environment, and {OPERATOR}",
        final=False,
    )


def _node_disk_full() -> Trouble:
    return Trouble(
        "The disk of the session's node is full.",
        code="node_disk_full",
        remedy=f"Start again: another node may be chosen. And {OPERATOR}",
    )
