"""The two hubs that are compared on a cluster: ours, and JupyterHub with stock KubeSpawner.

Both are processes in the cluster's network with the rights of a service account of their own; both
start the same image with the same size, device and home, in a namespace of their own.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from arcetri_hub.up import ports
from benchmarks.cluster import site
from benchmarks.cluster.installed import Beside, beside
from benchmarks.hubs import GROUP, Hub, enroll, token_of
from tests.cluster import addresses, hub
from tests.cluster.cluster import Cluster
from tests.cluster.components import SIMULATED
from tests.cluster.hub import inside

PATIENCE: Final = 120.0
LOGINS_AT_ONCE: Final = 4
SIZE: Final = {"cpu": 0.2, "memory": "1Gi", "shm": "64Mi"}
STOCK_ACCOUNT: Final = f"{hub.HOME}:stock-hub"
OUR_ACCOUNT: Final = f"{hub.HOME}:{hub.ACCOUNT}"
FIRST_NUMBER: Final = 200000
"""What our store gives the first person."""
IMAGES_NUMBER: Final = 1000
"""The image's own account, as which stock KubeSpawner runs everybody."""


def catalog(image: str) -> dict[str, Any]:
    """One flavour on the real node and one on simulated nodes, for everybody."""
    device = {"resource": "nvidia.com/gpu"}
    return {
        "version": 1,
        "site": {"name": "Benchmark"},
        "defaults": {"idle": "8h", "lifetime": "1d", "hold": "10m", "grace": "1m", "stop": "5s"},
        "ids": {"users": f"{FIRST_NUMBER}-299999", "groups": "300000-309999"},
        "limits": {"sessions": 2, "requests": 3},
        "flavors": {
            "gpu": {"title": "GPU", **device, "nodes": {"kubernetes.io/hostname": "node"}},
            "simulated": {
                "title": "Simulated GPU",
                **device,
                "nodes": {"type": "simulated"},
                "tolerations": [SIMULATED.partition("=")[0]],
            },
        },
        "sizes": {"small": SIZE},
        "environments": {"python": {"title": "Python", "image": image}},
        "volumes": {
            "home": {"mount": "/home/{username}", "claim": "shared", "path": "home/{username}"}
        },
        "everyone": {"volumes": ["home"]},
        "groups": {GROUP: {"flavors": {"gpu": {}, "simulated": {}}}},
    }


@contextlib.contextmanager
def ours(
    cluster: Cluster,
    folder: Path,
    image: str,
    users: Sequence[str],
    *,
    flavor: str,
    groups: Mapping[str, dict[str, Any]] | None = None,
    queues: str = "",
    whole: bool = False,
) -> Iterator[Hub]:
    """Our hub, with these people logged in.

    Args:
        cluster: Where it runs.
        folder: For its files.
        image: What sessions run.
        users: Who logs in; where there are several groups, in each as many of them in turn.
        flavor: What a start asks for.
        groups: What the catalog says of each group; one that is granted everything by default.
        queues: What its queues in Kueue are called; without a name it does without Kueue.
        whole: With the provisioner, the ledger and an agent, as the chart installs it; without
            them folders must be there, and nobody is told of a session.
    """
    site.namespace(cluster, site.OURS)
    entry = catalog(image)
    entry["groups"] = groups or entry["groups"]
    paths = list(entry["groups"])
    of = {user: paths[number % len(paths)] for number, user in enumerate(users)}
    if queues:
        _sync(cluster, folder, entry, queues)
    with contextlib.ExitStack() as stack:
        near = Beside()
        if whole:
            near = stack.enter_context(beside(cluster, folder / "beside", site.OURS))
        running = hub.running(
            cluster,
            folder / "ours",
            site.OURS,
            entry,
            usage=near.usage,
            provisioner=near.provisioner,
            queues=queues,
        )
        made = stack.enter_context(running)
        settings = made.settings
        yield Hub(
            name="arcetri",
            url=settings.public_url,
            pid=made.pid("hub"),
            proxy_pid=made.pid("proxy"),
            tokens=_tokens(settings.public_url, enroll(settings.iam.issuer, users, of)),
            options={"flavor": flavor, "environment": "python", "size": "small"},
            state=made.state,
        )
        near.told()


def _sync(cluster: Cluster, folder: Path, entry: dict[str, Any], queues: str) -> None:
    """Make Kueue's queues as the catalog says."""
    profiles = folder / "profiles.yaml"
    profiles.write_text(yaml.safe_dump(entry), encoding="utf-8")
    command = [sys.executable, "-m", "arcetri_hub", "queues", "sync", f"--profiles={profiles}"]
    cluster.run([*command, f"--instance={queues}", f"--namespace={site.OURS}"])


@contextlib.contextmanager
def stock(
    cluster: Cluster, folder: Path, image: str, users: Sequence[str], *, flavor: str
) -> Iterator[Hub]:
    """JupyterHub with KubeSpawner as it is, with these people logged in."""
    site.namespace(cluster, site.STOCK)
    home = folder / "stock"
    home.mkdir()
    port, hub_port, api_port, iam_port = (ports.choose() for _ in range(4))
    url, issuer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{iam_port}/"
    secret = home / "client-secret"
    secret.write_text(hub.SECRET, encoding="ascii")
    secret.chmod(0o600)
    said = {
        "url": url,
        "hub_ip": addresses.NODE,
        "hub_port": hub_port,
        "proxy_port": api_port,
        "issuer": issuer,
        "client_id": "arcetri-hub",
        "client_secret_file": str(secret),
        "groups": [GROUP],
        "namespace": site.STOCK,
        "image": image,
        "cpu": SIZE["cpu"],
        "memory": "1G",
        "toleration": SIMULATED.partition("=")[0],
        "nodes": catalog(image)["flavors"][flavor]["nodes"],
    }
    (home / "said.json").write_text(json.dumps(said), encoding="utf-8")
    identity = [
        *("arcetri_hub.devidp", "--port", str(iam_port), "--state", str(home / "iam.json")),
        *("--client-id", "arcetri-hub", "--client-secret-file", str(secret)),
        *("--hub-callback", f"{url}/hub/oauth_callback"),
    ]
    told = {
        "STOCK_FOLDER": str(home),
        "KUBECONFIG": str(_account(cluster, home)),
        "JUPYTERHUB_CRYPT_KEY": os.urandom(32).hex(),
    }
    config = Path(__file__).with_name("stock_config.py")
    with contextlib.ExitStack() as stack:
        for one in (port, iam_port):
            stack.enter_context(cluster.forwarded("127.0.0.1", one, listen=one))
        iam = _process(stack, cluster, identity, home / "iam.log", {})
        _answers(f"{issuer}.well-known/openid-configuration", iam, home / "iam.log")
        process = _process(
            stack, cluster, ["jupyterhub", "-f", str(config)], home / "hub.log", told
        )
        _answers(f"{url}/hub/login", process, home / "hub.log")
        yield Hub(
            name="stock KubeSpawner",
            url=url,
            pid=process.pid,
            proxy_pid=int((home / "proxy.pid").read_text()),
            tokens=_tokens(url, enroll(issuer, users)),
            options={},
        )


def _tokens(url: str, passwords: dict[str, str]) -> dict[str, str]:
    """Log everybody in, in order where one numeric id each matters, and give each a token."""
    if len(passwords) <= LOGINS_AT_ONCE:
        return {name: token_of(url, name, word) for name, word in passwords.items()}
    with ThreadPoolExecutor(LOGINS_AT_ONCE) as pool:
        tokens = pool.map(lambda item: token_of(url, *item), passwords.items())
        return dict(zip(passwords, tokens, strict=True))


def _process(
    stack: contextlib.ExitStack,
    cluster: Cluster,
    module: Sequence[str],
    log: Path,
    told: dict[str, str],
) -> subprocess.Popen[bytes]:
    process = inside(cluster, module, log, told)

    def end() -> None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()

    stack.callback(end)
    return process


def _answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, trust_env=False, timeout=10).status_code < httpx.codes.BAD_REQUEST:
                return
        time.sleep(0.2)
    raise RuntimeError(f"{url} does not answer:\n{log.read_text()[-4000:]}")


def _account(cluster: Cluster, folder: Path) -> Path:
    """A kubeconfig with the rights that z2jh gives a hub with KubeSpawner."""
    namespace, _, name = STOCK_ACCOUNT.partition(":")
    role = {"name": name, "namespace": site.STOCK}
    group = "rbac.authorization.k8s.io"
    api = f"{group}/v1"
    rules = [
        {
            "apiGroups": [""],
            "resources": ["pods", "persistentvolumeclaims", "secrets", "services"],
            "verbs": ["get", "watch", "list", "create", "delete"],
        },
        {"apiGroups": [""], "resources": ["events"], "verbs": ["get", "watch", "list"]},
    ]
    cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": namespace},
        },
        {"apiVersion": api, "kind": "Role", "metadata": role, "rules": rules},
        {
            "apiVersion": api,
            "kind": "RoleBinding",
            "metadata": role,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        },
    )
    token = cluster.run(
        ["kubectl", "create", "token", name, f"--namespace={namespace}", "--duration=6h"]
    )
    config = yaml.safe_load(cluster.kubeconfig.read_text(encoding="utf-8"))
    config["users"][0]["user"] = {"token": token.strip()}
    own = folder / "kubeconfig"
    own.write_text(yaml.safe_dump(config), encoding="utf-8")
    return own
