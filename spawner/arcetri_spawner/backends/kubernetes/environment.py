"""The environment of a session's containers, and the secrets that must not stand in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from arcetri_spawner.backends.kubernetes.manifest import (
    Container,
    Draft,
    JsonObject,
    children,
    keep,
)
from arcetri_spawner.backends.kubernetes.names import dns_label
from arcetri_spawner.backends.kubernetes.plan import PodPlan
from arcetri_spawner.backends.kubernetes.storage import RUNTIME

_VISIBLE: Final = "NVIDIA_VISIBLE_DEVICES"
_NOT_A_SESSIONS = re.compile(
    r"JUPYTERHUB_CRYPT_KEY|JUPYTERHUB_COOKIE_SECRET|CONFIGPROXY_AUTH_TOKEN|.*CLIENT_SECRET"
)
"""Secrets of the hub itself: with one of these a user could pass for the hub."""
_SECRET_NAME = re.compile(
    r"(?:.*_)?(?:TOKENS?|SECRETS?|PASSWORDS?|PASSWD|PASSPHRASE|CREDENTIALS?|APIKEY|KEY)(?:_.*)?",
    re.IGNORECASE,
)
_SECRET_URL = re.compile(r"://[^/@\s]*:[^/@\s]+@")
_SECRET_KEY = re.compile(r"[A-Za-z0-9._-]{1,253}")
_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")


def demand_environment(draft: Draft, plan: PodPlan) -> dict[str, str]:
    """Set what the platform says, and move every secret out.

    Returns:
        The values that were moved, by their key in the session's Secret.
    """
    secrets: dict[str, str] = {}
    for container in draft.containers():
        _take_foreign_secrets(draft, container)
        _hide_devices(draft, container, plan)
        if container.notebook:
            _set(container, _platforms(draft, plan))
        _move_secrets(container, plan, secrets)
    return secrets


def _platforms(draft: Draft, plan: PodPlan) -> dict[str, str]:
    """What the platform says to the notebook, whatever the site said."""
    grant = plan.grant
    said = {
        "HOME": plan.home,
        "USER": grant.username,
        "LOGNAME": grant.username,
        # Not below the home, which may be full, and on a file system without working locks.
        "JUPYTER_RUNTIME_DIR": f"{RUNTIME}/jupyter",
        # As JupyterHub would, so that notebooks' displays of their use agree with the limits.
        "CPU_LIMIT": str(grant.cpu),
        "CPU_GUARANTEE": str(grant.cpu),
        "MEM_LIMIT": str(grant.memory),
        "MEM_GUARANTEE": str(grant.memory),
        "ARCETRI_SESSION_ID": str(grant.request_id),
        "ARCETRI_FLAVOR": grant.flavor,
        "ARCETRI_GROUP": str(grant.group),
        "ARCETRI_ENVIRONMENT": grant.environment,
    }
    image = draft.notebook.body.get("image")
    if image:
        said |= {"JUPYTER_IMAGE": image, "JUPYTER_IMAGE_SPEC": image}
    return said


def _hide_devices(draft: Draft, container: Container, plan: PodPlan) -> None:
    """Keep NVIDIA's runtime from giving every device to a container that was granted none.

    It believes this variable, and CUDA images set it to ``all``. Where a device is granted the
    device plugin sets it; a value of ours would come later and win.
    """
    path = f"{container.path}.env[{_VISIBLE}]"
    env = _env(container)
    others = [entry for entry in env if entry.get("name") != _VISIBLE]
    asked = [entry for entry in env if entry.get("name") == _VISIBLE]
    granted = container.notebook and (plan.flavor.resource or "").startswith("nvidia.com/")
    void = {"name": _VISIBLE, "value": "void"}
    if any(entry != void or granted for entry in asked):
        draft.overrule(path, "The flavour says which devices a session sees.")
    keep(container.body, "env", others if granted else [*others, void])


def _take_foreign_secrets(draft: Draft, container: Container) -> None:
    kept = []
    for index, entry in enumerate(_env(container)):
        path = f"{container.path}.env[{entry.get('name', index)}]"
        source = entry.get("valueFrom")
        if _NOT_A_SESSIONS.fullmatch(str(entry.get("name", ""))):
            draft.overrule(path, "It is a secret of the hub's own, and no session's business.")
        elif isinstance(source, dict) and "secretKeyRef" in source:
            draft.overrule(path, "A session holds no secret but its own token.")
        else:
            kept.append(entry)
    keep(container.body, "env", kept)
    path = f"{container.path}.envFrom"
    sources = children(container.body, "envFrom", path)
    for index, source in enumerate(sources):
        draft.remove(
            source, "secretRef", f"{path}[{index}]", "A session holds no secret but its own token."
        )
    keep(container.body, "envFrom", [source for source in sources if set(source) - {"prefix"}])


def _set(container: Container, values: Mapping[str, str]) -> None:
    others = [entry for entry in _env(container) if entry.get("name") not in values]
    ours: list[JsonObject] = [{"name": name, "value": value} for name, value in values.items()]
    # First, so that what the site says can refer to them.
    keep(container.body, "env", [*ours, *others])


def _move_secrets(container: Container, plan: PodPlan, secrets: dict[str, str]) -> None:
    known: dict[str, str] = {}
    for entry in _env(container):
        name, value = str(entry.get("name", "")), entry.get("value")
        if not isinstance(value, str):
            continue
        expanded = known[name] = _expand(value, known)
        if not expanded or not (_SECRET_NAME.fullmatch(name) or _SECRET_URL.search(expanded)):
            continue
        key = name if container.notebook else f"{container.body.get('name')}.{name}"
        if not _SECRET_KEY.fullmatch(key) or key in secrets:
            key = dns_label(f"{container.path} {name}")
        secrets[key] = expanded
        del entry["value"]
        entry["valueFrom"] = {"secretKeyRef": {"name": plan.secret_name, "key": key}}


def _expand(value: str, known: Mapping[str, str]) -> str:
    """Fill in ``$(NAME)`` as the kubelet would: it does so in plain values, not in secret ones."""

    def filled(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return known.get(match[1], match[0])

    return _REFERENCE.sub(filled, value)


def _env(container: Container) -> list[dict[str, Any]]:
    return children(container.body, "env", f"{container.path}.env")
