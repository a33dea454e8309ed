"""The reference hub on a cluster: the reference of one machine, with stock KubeSpawner.

What differs from KubeSpawner's defaults is only what must: a pod of the same image, size, device
and home as ours, that the level "restricted" lets in.
"""

import json
import os
from pathlib import Path

SAID = json.loads((Path(os.environ["STOCK_FOLDER"]) / "said.json").read_text())

c = get_config()  # type: ignore[name-defined]  # noqa: F821 - JupyterHub puts it there
load_subconfig(  # type: ignore[name-defined]  # noqa: F821 - this too
    "stock_config.py", path=str(Path(__file__).parents[1])
)

c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
c.KubeSpawner.namespace = SAID["namespace"]
c.KubeSpawner.image = SAID["image"]
c.KubeSpawner.cmd = ["jupyterhub-singleuser"]
c.KubeSpawner.cpu_limit = c.KubeSpawner.cpu_guarantee = SAID["cpu"]
c.KubeSpawner.mem_limit = c.KubeSpawner.mem_guarantee = SAID["memory"]
c.KubeSpawner.extra_resource_limits = {"nvidia.com/gpu": "1"}
c.KubeSpawner.extra_resource_guarantees = {"nvidia.com/gpu": "1"}
c.KubeSpawner.node_selector = SAID["nodes"]
c.KubeSpawner.tolerations = [{"key": SAID["toleration"], "operator": "Exists"}]
c.KubeSpawner.volumes = [{"name": "home", "persistentVolumeClaim": {"claimName": "shared"}}]
c.KubeSpawner.volume_mounts = [
    {"name": "home", "mountPath": "/home/user", "subPath": "home/{username}"}
]
c.KubeSpawner.container_security_context = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
# The defaults give up when many start at once on two cores.
c.JupyterHub.concurrent_spawn_limit = 0
c.Spawner.http_timeout = 180
c.Spawner.start_timeout = 300
