"""zero-to-jupyterhub's hub and proxy, as far as its documentation says what they are.

**Not that chart**, which cannot be had here: what it makes of its documented values is written here
by hand, with this checkout's images, for the values of ``helm/z2jh-overlay`` alone. Its proxy is
stood in for by ours, which takes the same routes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arcetri_hub.up import ports
from tests.cluster import images

Json = dict[str, Any]

TAKEN = {"extraConfig", "extraEnv", "extraVolumeMounts", "extraVolumes", "image"}
"""What of ``hub`` is put into the hub's pod below."""
CONFIGURED = {
    "concurrentSpawnLimit": "c.JupyterHub.concurrent_spawn_limit",
    "consecutiveFailureLimit": "c.Spawner.consecutive_failure_limit",
}
"""What of it becomes a line of its configuration."""
NOT_HERE = {"networkPolicy"}
"""What of it makes objects of its own, which other tests evaluate."""
SECRET = "0123456789abcdef" * 4
BASE = """
c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
c.JupyterHub.hub_bind_url = "http://:8081"
c.JupyterHub.hub_connect_url = "http://hub:8081"
c.JupyterHub.db_url = "sqlite:///jupyterhub.sqlite"
c.JupyterHub.cookie_secret = bytes.fromhex("{secret}")
c.CryptKeeper.keys = [bytes.fromhex("{secret}")]
c.JupyterHub.cleanup_servers = False
c.JupyterHub.last_activity_interval = 60
c.JupyterHub.tornado_settings = {{"slow_spawn_timeout": 0}}
c.ConfigurableHTTPProxy.api_url = "http://proxy-api:8001"
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.auth_token = "{secret}"
c.KubeSpawner.namespace = "{namespace}"
c.KubeSpawner.image = "quay.io/jupyterhub/k8s-singleuser-sample:4.0.0"
c.KubeSpawner.storage_pvc_ensure = False
c.JupyterHub.load_roles = []
c.JupyterHub.services = [{{"name": "theirs", "api_token": "{secret}"}}]
"""
"""What the chart's own configuration sets from its values."""
PORTS = {"hub": 8081, "proxy-public": 8000, "proxy-api": 8001}
_PLAIN = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
}


def configuration(hub: Mapping[str, Any], namespace: str) -> str:
    """Its jupyterhub_config.py: its own, then each of ``hub.extraConfig`` in the order of names."""
    own = [BASE.format(secret=SECRET, namespace=namespace)]
    own += [f"{name} = {hub[key]!r}" for key, name in CONFIGURED.items() if key in hub]
    extra: Mapping[str, str] = hub["extraConfig"]
    return "\n".join([*own, *(extra[name] for name in sorted(extra))])


def objects(hub: Mapping[str, Any], namespace: str, public_url: str, iam_port: int) -> list[Json]:
    """Its objects, in the order in which they can be made.

    Args:
        hub: ``hub`` of its values.
        namespace: Where.
        public_url: Where browsers find it.
        iam_port: Where the development IAM listens, a container of ``hub.extraContainers``.

    Raises:
        ValueError: There is a value that this does not know.
    """
    if unknown := hub.keys() - TAKEN - CONFIGURED.keys() - NOT_HERE:
        raise ValueError(f"not known of zero-to-jupyterhub's hub: {', '.join(sorted(unknown))}")
    image = f"{hub['image']['name']}:{hub['image']['tag']}"
    mounts = [
        {"name": "config", "mountPath": "/usr/local/etc/jupyterhub"},
        {"name": "pvc", "mountPath": "/srv/jupyterhub"},
        *hub["extraVolumeMounts"],
    ]
    container = {
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "securityContext": _PLAIN,
        "volumeMounts": mounts,
    }
    env = [{"name": name, "value": value} for name, value in hub["extraEnv"].items()]
    config = "/usr/local/etc/jupyterhub/jupyterhub_config.py"
    containers = [
        {
            "name": "hub",
            "args": ["jupyterhub", "--config", config, "--upgrade-db"],
            "workingDir": "/srv/jupyterhub",
            "env": env,
            "readinessProbe": {
                "httpGet": {"path": "/hub/health", "port": 8081},
                "periodSeconds": 1,
                "failureThreshold": 1000,
            },
            **container,
        },
        {
            "name": "iam",
            "args": [
                *("python", "-m", "arcetri_hub.devidp", f"--port={iam_port}"),
                *("--state=/srv/jupyterhub/iam.json", "--client-id=arcetri-hub"),
                "--client-secret-file=/etc/arcetri/secrets/iam-client",
                f"--hub-callback={public_url}/hub/oauth_callback",
                "--end-session",
            ],
            **container,
        },
    ]
    volumes = [
        {"name": "config", "configMap": {"name": "hub"}},
        {"name": "pvc", "emptyDir": {}},
        *hub["extraVolumes"],
    ]
    proxy = {
        "name": "chp",
        "image": images.PROXY.reference,
        "imagePullPolicy": "IfNotPresent",
        "securityContext": _PLAIN,
        "args": [
            *("python", "-m", "arcetri_hub.proxy", "--ip=0.0.0.0", "--api-ip=0.0.0.0"),
            *("--default-target=http://hub:8081", "--error-target=http://hub:8081/hub/error"),
        ],
        "env": [{"name": "CONFIGPROXY_AUTH_TOKEN", "value": SECRET}],
    }
    return [
        _object("v1", "ServiceAccount", "hub", namespace),
        {
            **_object("v1", "ConfigMap", "hub", namespace),
            "data": {"jupyterhub_config.py": configuration(hub, namespace)},
        },
        *(_service(name, namespace) for name in PORTS),
        _deployment("hub", namespace, containers, volumes, account="hub"),
        _deployment("proxy", namespace, [proxy], [], account="default"),
    ]


def free_ports() -> tuple[int, int]:
    """Where browsers find the platform and its IAM."""
    return ports.choose(), ports.choose()


def _object(version: str, kind: str, name: str, namespace: str) -> Json:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": "jupyterhub"}},
    }


def _labels(component: str) -> dict[str, str]:
    return {"app": "jupyterhub", "component": component}


def _service(name: str, namespace: str) -> Json:
    port = PORTS[name]
    return {
        **_object("v1", "Service", name, namespace),
        "spec": {
            "selector": _labels(name.partition("-")[0]),
            "ports": [{"port": port, "targetPort": port}],
        },
    }


def _deployment(
    component: str, namespace: str, containers: list[Json], volumes: list[Json], *, account: str
) -> Json:
    labels = _labels(component)
    spec = {
        "serviceAccountName": account,
        "enableServiceLinks": False,
        "securityContext": {
            "fsGroup": 1000,
            "runAsUser": 1000,
            "runAsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": 1,
        "containers": containers,
        "volumes": volumes,
    }
    return {
        **_object("apps/v1", "Deployment", component, namespace),
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }
