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
from typing import Any, ClassVar, Final

from jupyterhub.utils import maybe_future
from kubespawner import KubeSpawner
from traitlets.config import Config

from arcetri_spawner.backends.base import Launch
from arcetri_spawner.jupyterhub import ArcetriSpawner

_OFFERED: Final = "the catalog decides what is on offer"
_CLAIMS: Final = "the catalog's volumes lie on claims that the site makes"
_GUARDED: Final = "sessions run in the one namespace that is guarded for them"
_FOLLOWED: Final = "a session's pod is made and followed by the platform"
_NAMED: Final = "objects are named after the request that they are for"
_CONNECTED: Final = "the API server is where the hub's kubeconfig or service account says"
_REACHED: Final = "a session is reached at its pod's own address"
_ENDED: Final = "a session has the time to end that the catalog gives it, and its pod then goes"
_WORDS: Final = "the page of a start says what it waits for"

IN_VAIN: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("profile_list", "profile_form_template", "additional_profile_form_template_paths"),
        _OFFERED,
    ),
    **dict.fromkeys(
        (
            "storage_pvc_ensure",
            "storage_access_modes",
            "storage_capacity",
            "storage_class",
            "storage_extra_annotations",
            "storage_extra_labels",
            "storage_selector",
            "remember_pvc_name",
            "delete_pvc",
        ),
        _CLAIMS,
    ),
    **dict.fromkeys(
        (
            "enable_user_namespaces",
            "user_namespace_annotations",
            "user_namespace_labels",
            "user_namespace_template",
        ),
        _GUARDED,
    ),
    **dict.fromkeys(("after_pod_created_hook", "events_enabled"), _FOLLOWED),
    **dict.fromkeys(
        ("pod_name_template", "secret_name_template", "dns_name_template", "handle_legacy_names"),
        _NAMED,
    ),
    **dict.fromkeys(
        (
            "k8s_api_host",
            "k8s_api_ssl_ca_cert",
            "k8s_api_verify_ssl",
            "k8s_api_request_timeout",
            "k8s_api_request_retry_timeout",
            "k8s_api_threadpool_workers",
        ),
        _CONNECTED,
    ),
    **dict.fromkeys(("services_enabled", "get_pod_url", "pod_connect_ip"), _REACHED),
    **dict.fromkeys(("delete_grace_period", "delete_stopped_pods"), _ENDED),
    **dict.fromkeys(
        ("slow_spawn_message", "slow_spawn_message_frequency", "slow_spawn_message_threshold"),
        _WORDS,
    ),
    "start_timeout": "the platform's own settings say how long a start may take",
}
"""Settings of KubeSpawner that change nothing here, and why."""


def in_vain(config: Config) -> dict[str, str]:
    """Of what a site has set for KubeSpawner, what changes nothing, and why.

    Args:
        config: JupyterHub's whole configuration.
    """
    said = {name for part in ("KubeSpawner", "ArcetriKubeSpawner") for name in config.get(part, {})}
    return {name: why for name, why in IN_VAIN.items() if name in said}


class ArcetriKubeSpawner(ArcetriSpawner, KubeSpawner):
    """Starts what policy grants as a pod, shaped by the site's settings of KubeSpawner."""

    _told: ClassVar[set[str]] = set()
    """Settings in vain that this process has told of."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, why in in_vain(self.config).items():
            if name not in self._told:
                self._told.add(name)
                self.log.warning("c.KubeSpawner.%s is not used: %s", name, why)

    def _launch(self) -> Launch:
        return replace(super()._launch(), pod=self._pod)

    async def delete_forever(self) -> None:
        """Leave all there is where a server is removed: its folders lie on the site's claims."""

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
