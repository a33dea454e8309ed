"""The JupyterHub spawner on Kubernetes: KubeSpawner's settings, the platform's way of a session.

A site sets ``c.KubeSpawner.*`` as its documentation says. Whatever these settings make of a pod is
the beginning; policy is laid over it afterwards (``backends.kubernetes.pod``), and what it
overrules is logged. Of KubeSpawner's own life of a pod nothing is used: it forgets running pods
when a hub starts while the API server is away, deletes a pod it meets under its name, and takes
stale state for news.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from jupyterhub.utils import maybe_future
from kubespawner import KubeSpawner
from traitlets.config import Config

from arcetri_spawner.backends.base import Launch
from arcetri_spawner.jupyterhub import ArcetriSpawner

IN_VAIN: Final = {
    "profile_list": "the catalog decides what is on offer",
    "storage_pvc_ensure": "the catalog's volumes lie on claims that the site makes",
    "enable_user_namespaces": "sessions run in the one namespace that is guarded for them",
    "after_pod_created_hook": "a session's pod is made and followed by the platform",
}
"""Settings of KubeSpawner that change nothing here, and why."""


class ArcetriKubeSpawner(ArcetriSpawner, KubeSpawner):
    """Starts what policy grants as a pod, shaped by the site's settings of KubeSpawner."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, why in IN_VAIN.items():
            if getattr(self, name):
                self.log.warning("c.KubeSpawner.%s is not used: %s", name, why)

    def _launch(self) -> Launch:
        return replace(super()._launch(), pod=self._pod)

    async def _pod(self) -> Mapping[str, Any]:
        """The pod that the site's settings make, as the API's JSON."""
        pod = await self.get_pod_manifest()
        if self.modify_pod_hook:
            pod = await maybe_future(self.modify_pod_hook(self, pod))
        made: Mapping[str, Any] = self.api.api_client.sanitize_for_serialization(pod)
        return made


class _Nobody(ArcetriKubeSpawner):
    """A session that is nobody's and is never started, to see what the site's settings make."""

    def get_env(self) -> dict[str, str]:
        """Nothing: what nodes a pod needs does not depend on it."""
        return {}

    def get_args(self) -> list[str]:
        """Nothing, for the same reason."""
        return []


async def sample_pod(config: Config) -> Mapping[str, Any]:
    """Return the pod that the site's settings make, as the API's JSON, whoever it is for.

    Functions that a site gives for a pod are called for a person ``mock@name``; hooks that change
    a pod afterwards (``modify_pod_hook``, ``pre_spawn_hook``) are not: they may do more.

    Args:
        config: JupyterHub's whole configuration.
    """
    spawner = _Nobody(_mock=True, config=config)
    made: Mapping[str, Any] = spawner.api.api_client.sanitize_for_serialization(
        await spawner.get_pod_manifest()
    )
    return made
