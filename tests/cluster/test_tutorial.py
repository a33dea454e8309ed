"""The tutorial of a platform on a cluster, run as a new operator would, on the tests' cluster."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import yaml

from arcetri_hub.devidp.demo import DEMO_USERS
from arcetri_hub.up import ports
from kueue_client import Kueue
from tests.cluster import kueue as real
from tests.cluster import volumes
from tests.cluster.cluster import Cluster
from tests.cluster.installation import clear
from tests.docs.console import Block, Shell, blocks
from tests.docs.test_pages import ON_CLUSTER
from tests.support.platform import login, xsrf

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorials" / "cluster.md"
UPGRADE = ROOT / "docs" / "how-to" / "upgrade.md"
QUEUES = ROOT / "docs" / "tutorials" / "queues.md"
"""Like the one before, run in the midst of the tutorial, on the platform that it has installed."""
NAME = "tutored"


def token(name: str, port: int) -> str:
    """A new token of one of the try's people."""
    url = f"http://127.0.0.1:{port}"
    password = next(user.password for user in DEMO_USERS if user.name == name)
    with httpx.Client(base_url=url, timeout=60) as client:
        login(client, url, name, password)
        answer = client.post(
            f"/hub/api/users/{name}/tokens", json={"note": "docs"}, headers=xsrf(client)
        )
        return str(answer.raise_for_status().json()["token"])


@pytest.fixture
def shell(with_kueue: Cluster, tmp_path: Path) -> Iterator[Shell]:
    """A person's shell in a clone, with the tests' cluster as theirs."""
    cluster = with_kueue
    for name in ("Makefile", ".venv", "helm", "tests", "tools", "images", "pyproject.toml",
                 "README.md", "requirements", "hub", "spawner", "accounting"):  # fmt: skip
        (tmp_path / name).symlink_to(ROOT / name)
    environment = {**os.environ, "NAME": str(cluster.state.folder)}
    environment.pop("MAKEFLAGS", None)
    # Others may run a platform on this machine, at the usual ports.
    port, iam_port = ports.choose(), ports.choose()
    told = f"hub.publicUrl=http://127.0.0.1:{port},iam.developmentPort={iam_port}"
    command = f"{sys.executable} -m tests.cluster.command --state {cluster.state.folder}"
    replaced = {
        # A terminal's Ctrl-C is for all that runs in it; here it is for one process, not make.
        "make cluster-forward TO=": f"{command} forward ",
        " arcetri helm/arcetri": f" {NAME} helm/arcetri",
        "helm test arcetri": f"helm test {NAME}",
        "helm uninstall arcetri": f"helm uninstall {NAME}",
        "label namespace arcetri ": f"label namespace {NAME} ",
        "helm history arcetri": f"helm history {NAME}",
        "helm rollback arcetri": f"helm rollback {NAME}",
        "arcetri-secrets": f"{NAME}-secrets",
        "values site.yaml": f"values helm/try/values.yaml --set {told}",
        "--namespace arcetri": f"--namespace {NAME}",
        "namespace/arcetri-": f"namespace/{NAME}-",
        "arcetri/service/arcetri-": f"{NAME}/service/{NAME}-",
        "arcetri/deployment/arcetri-": f"{NAME}/deployment/{NAME}-",
        "deployment/arcetri-hub": f"deployment/{NAME}-hub",
        "deployment/arcetri-queues": f"deployment/{NAME}-queues",
        "--instance arcetri ": f"--instance {NAME} ",
        "instance=arcetri": f"instance={NAME}",
        "of arcetri-": f"of {NAME}-",
        "arcetri-sessions": f"{NAME}-sessions",
        "arcetri-default": f"{NAME}-default",
        "values helm/try/values.yaml": f"values helm/try/values.yaml --set {told}",
        "-proxy:8000": f"-proxy:{port}:8000",
        "127.0.0.1:8000": f"127.0.0.1:{port}",
        "8005": str(iam_port),
    }
    shell = Shell(tmp_path, environment, replaced, lambda name: token(name, port))
    try:
        yield shell
    finally:
        shell.close()
        _remove(cluster)
        with real.reachable(cluster, tmp_path) as path, Kueue.from_kubeconfig(path) as kueue:
            clear(kueue, f"app.kubernetes.io/instance={NAME}")


def _remove(cluster: Cluster) -> None:
    gone = ["--now", "--ignore-not-found", "--timeout=90s"]
    servers = list(yaml.safe_load((ROOT / "helm" / "try" / "farm.yaml").read_text("utf-8")))
    cluster.run(["kubectl", "delete", "node", *servers, *gone])
    cluster.run(["helm", "uninstall", NAME, f"--namespace={NAME}", "--ignore-not-found"])
    spaces = [NAME, *(f"{NAME}-{part}" for part in ("sessions", "storage", "agents", "images"))]
    cluster.remove(*spaces)
    for one in cluster.kubectl("get", "pv")["items"]:
        if one["spec"].get("claimRef", {}).get("namespace") in spaces:
            cluster.run(["kubectl", "delete", "pv", one["metadata"]["name"], *gone])
            if local := one["spec"].get("local"):
                cluster.run(["rm", "-rf", local["path"]])
    cluster.apply(*volumes.made(cluster.state))
    cluster.run(["rm", "-rf", "/var/lib/arcetri-try"])


def _on_cluster(page: Path) -> list[tuple[Path, Block]]:
    found = [one for one in blocks(page.read_text()) if one.mark.startswith(ON_CLUSTER)]
    return [
        (page, replace(block, mark=block.mark.replace(ON_CLUSTER, "tested"))) for block in found
    ]


def _inside(block: Block, cluster: Cluster) -> Block:
    """A block whose reader has a cluster at hand: here it is another one's."""
    run = f"{sys.executable} -m tests.cluster.command --state {cluster.state.folder} run"
    return replace(
        block,
        commands=tuple(
            replace(one, text=f"{run} {shlex.quote(one.text)}") for one in block.commands
        ),
    )


@pytest.mark.timeout(1200)
def test_the_tutorial_is_what_happens(cluster: Cluster, shell: Shell) -> None:
    tutorial = _on_cluster(PAGE)
    upgrade = [(page, _inside(block, cluster)) for page, block in _on_cluster(UPGRADE)]
    queues = _on_cluster(QUEUES)
    assert len(tutorial) > 8
    assert len(upgrade) > 2
    assert len(queues) > 15
    (stop,) = (number for number, (_, block) in enumerate(tutorial) if "stop" in block.mark)
    for page, block in [*tutorial[:stop], *upgrade, *queues, *tutorial[stop:]]:
        try:
            shell.run(block)
        except AssertionError as error:
            raise AssertionError(f"{page.name}:{block.line}\n{error}") from None
