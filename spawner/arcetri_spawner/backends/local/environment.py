"""The environment of a session: an allow-list of the hub's, what JupyterHub asks for, and ours."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from arcetri_spawner.backends.base import Device
from arcetri_spawner.backends.local.procs import INSTANCE_VARIABLE, SESSION_VARIABLE
from arcetri_spawner.policy.model import Grant

_FROM_HUB = frozenset(
    {
        "PATH", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH",
        "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
    }
)  # fmt: skip
"""Besides LC_*; anything else of the hub's own environment stays with the hub."""

_NEVER = re.compile(
    r"JUPYTERHUB_CRYPT_KEY|JUPYTERHUB_COOKIE_SECRET|CONFIGPROXY_AUTH_TOKEN|ARCETRI_.*|OAUTH_.*"
    r"|.*CLIENT_SECRET.*|PYTHON.*|VIRTUAL_ENV.*|CONDA_.*|LD_PRELOAD|LD_AUDIT|XDG_.*|DBUS_.*|SSH_.*"
    r"|.*DATABASE_URL|PG[A-Z]+"
)
"""Of what JupyterHub passes on: its own secrets, and what belongs to the hub's interpreter."""


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """What a session may see of the hub's own environment."""
    return {
        name: value
        for name, value in environ.items()
        if name in _FROM_HUB or name.startswith("LC_")
    }


def requested(env: Mapping[str, str]) -> dict[str, str]:
    """What JupyterHub asks for, without what is not a session's."""
    return {name: value for name, value in env.items() if not _NEVER.fullmatch(name)}


def device_variables(grant: Grant, devices: Sequence[Device]) -> dict[str, str]:
    """The devices by UUID; where none was granted, none can be seen by accident."""
    uuids = ",".join(device.uuid for device in devices)
    visible = uuids if grant.flavor_type == "gpu" else ""
    return {
        "CUDA_VISIBLE_DEVICES": visible,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "NVIDIA_VISIBLE_DEVICES": visible or "void",
        "ROCR_VISIBLE_DEVICES": "",
        "ARCETRI_DEVICES": uuids,
        "ARCETRI_SIMULATED": "1" if any(device.simulated for device in devices) else "0",
    }


def session_environment(
    grant: Grant,
    devices: Sequence[Device],
    *,
    instance_id: str,
    home: Path,
    root: Path,
    folders: Mapping[str, str],
    runtime: Path,
    service_url: str,
    requested_env: Mapping[str, str],
    interpreter_env: Mapping[str, str],
    path_first: Sequence[Path],
    hub_environ: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Everything the server's process gets to see.

    Args:
        grant: What was granted.
        devices: What the session holds.
        instance_id: See ``LocalConfig``.
        home: The person's home, the same path in every session.
        root: The session's view of its volumes.
        folders: The variables that say where each volume is.
        runtime: Where Jupyter keeps connection files while the session runs.
        service_url: Where the server must listen, with its path.
        requested_env: ``Launch.env``.
        interpreter_env: What the environment's interpreter needs.
        path_first: Folders searched for commands before the inherited ones.
        hub_environ: The hub's own environment; absent means this process's.
    """
    env = inherited(os.environ if hub_environ is None else hub_environ)
    env |= requested(requested_env)
    search = [str(home / ".local/bin"), *map(str, path_first)]
    search.append(env.get("PATH") or os.defpath)
    env |= {
        "PATH": ":".join(search),
        "HOME": str(home),
        "USER": grant.username,
        "LOGNAME": grant.username,
        "SHELL": "/bin/bash" if Path("/bin/bash").exists() else "/bin/sh",
        "JUPYTERHUB_SERVICE_URL": service_url,
        "JUPYTERHUB_ROOT_DIR": str(root),
        "JUPYTER_RUNTIME_DIR": str(runtime),
    }
    env |= interpreter_env
    env |= device_variables(grant, devices)
    env |= folders
    env |= {
        INSTANCE_VARIABLE: instance_id,
        SESSION_VARIABLE: str(grant.request_id),
        "ARCETRI_FLAVOR": grant.flavor,
        "ARCETRI_GROUP": str(grant.group),
        "ARCETRI_ENVIRONMENT": grant.environment,
    }
    return env
