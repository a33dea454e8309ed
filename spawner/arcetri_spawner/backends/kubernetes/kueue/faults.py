"""Kueue's errors, as those of the platform."""

from __future__ import annotations

from typing import ClassVar

from arcetri_spawner.errors import BackendError
from kueue_client import (
    Forbidden,
    KueueError,
    NotInstalled,
    Unauthorized,
    Unreachable,
    VisibilityDown,
    WebhookDown,
)

PASSING = (Unreachable, WebhookDown, VisibilityDown)
"""What may go by itself: the same is tried again."""


class QueueFault(BackendError):
    """The queue does not do what it is asked.

    Attributes:
        details: What was answered, word for word.
    """

    default_code = "queue_fault"
    codes: ClassVar[tuple[str, ...]] = (
        "queue_away",
        "queue_denied",
        "queue_missing",
        "queue_flavor_gone",
    )

    def __init__(self, message: str, *, code: str, remedy: str, details: str = "") -> None:
        super().__init__(message, code=code, remedy=remedy)
        self.details = details
        if code == "queue_away":
            self.status = 503


def fault(error: KueueError) -> QueueFault:
    """What an error of Kueue's means for who has asked for a session."""
    if isinstance(error, PASSING):
        return QueueFault(
            "The queue does not answer just now.",
            code="queue_away",
            remedy="Sessions that run go on. Try again in a few minutes.",
            details=str(error),
        )
    if isinstance(error, NotInstalled):
        return QueueFault(
            "The cluster has no queue.",
            code="queue_missing",
            remedy="The operator installs Kueue, or has the hub do without (queue: slots).",
            details=str(error),
        )
    if isinstance(error, Forbidden | Unauthorized):
        return QueueFault(
            "The cluster does not let the platform use the queue.",
            code="queue_denied",
            remedy="The operator looks at the rights of the hub's service account.",
            details=str(error),
        )
    return QueueFault(
        "The queue does not take the request.",
        code="queue_fault",
        remedy="Nothing that you chose is wrong: tell the operator of the platform.",
        details=str(error),
    )


def flavor_gone(flavor: str) -> QueueFault:
    """The flavour was taken out of the catalog since it was granted."""
    return QueueFault(
        f"The flavour {flavor} is no longer in the catalog.",
        code="queue_flavor_gone",
        remedy="Choose another one.",
    )
