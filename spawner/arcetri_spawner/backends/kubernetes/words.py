"""What a trouble is: a stable code, a plain sentence, what to do, and the raw text beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Final

from arcetri_spawner.errors import BackendError, StartFailed

OPERATOR: Final = "tell the operator of the platform, with the details."
"""The end of a remedy, after a colon."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What keeps a session from starting, or ended it."""

    sentence: str
    """For its user: nothing raw is in it."""
    code: str
    """Stable; see the table of codes."""
    remedy: str
    """What its user does, or whom they tell."""
    details: str = ""
    """What the cluster said, word for word, for those who want it."""
    final: bool = True
    """Whether nothing comes of it any more; a passing trouble may go by itself."""

    def saying(self, details: str) -> Trouble:
        """Return it with what the cluster said, of any length: who keeps or shows it cuts it."""
        return replace(self, details=details.strip())


class ClusterTrouble(StartFailed):
    """The cluster could not start or keep the session.

    Attributes:
        details: What it said, word for word.
    """

    default_code = "cluster_trouble"
    codes: ClassVar[tuple[str, ...]] = (
        "claim_missing",
        "cluster_away",
        "cluster_refused",
        "command_missing",
        "container_refused",
        "deadline",
        "evicted",
        "hub_not_allowed",
        "image_denied",
        "image_failed",
        "image_missing",
        "image_name_invalid",
        "image_slow",
        "interrupted",
        "limits_exceeded",
        "no_room",
        "node_away",
        "node_disk_full",
        "node_lost",
        "node_refused",
        "node_shutdown",
        "out_of_memory",
        "pod_invalid",
        "pod_security",
        "preempted",
        "quota_exceeded",
        "registry_away",
        "server_crashed",
        "server_silent",
        "volume_not_ready",
        "webhook_refused",
    )

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.sentence, code=trouble.code, remedy=trouble.remedy)
        self.details = trouble.details
        if trouble.code in ("cluster_away", "quota_exceeded", "no_room"):
            # Nobody is at fault: the same request may do in a while.
            self.status = 503


class ClusterFault(BackendError):
    """The cluster is not there for the platform, or does not let it do what it must."""

    default_code = "cluster_fault"
    codes: ClassVar[tuple[str, ...]] = ("cluster_unknown", "stop_refused")
