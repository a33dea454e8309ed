"""How the Kubernetes backend is set up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KubernetesConfig:
    """What a site decides about the backend, besides the catalog and KubeSpawner's settings."""

    namespace: str
    """Where sessions run."""
    instance_id: str
    """Tells this platform's pods from those of another in the same namespace."""
    start_timeout: float = 600.0
    """Seconds a session may take until it answers; pulling a large image takes minutes."""
    patience: float = 90.0
    """Seconds for which a start bears a trouble that may go by itself."""
    strict_groups: bool = False
    """Every node can keep an image's own /etc/group from giving its user further groups."""
    lends: bool = False
    """The queue lets groups borrow what others leave idle."""
    list_timeout: float = 20.0
    """Seconds that a hub's start waits for the API server before it goes on without."""
