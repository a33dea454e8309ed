"""The tutorial of a platform on a cluster, run as a new operator would, on the tests' cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from arcetri_hub.devidp.demo import DEMO_USERS
from arcetri_hub.up import ports
from tests.cluster import volumes
from tests.cluster.cluster import Cluster
from tests.docs.console import Shell, blocks
from tests.docs.test_pages import ON_CLUSTER
from tests.support.platform import login, xsrf

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorials" / "cluster.md"
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
def shell(cluster: Cluster, tmp_path: Path) -> Iterator[Shell]:
    """A person's shell in a clone, with the tests' cluster as theirs."""
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
        "--namespace arcetri": f"--namespace {NAME}",
        "namespace/arcetri-": f"namespace/{NAME}-",
        "arcetri/service/arcetri-": f"{NAME}/service/{NAME}-",
        "arcetri/deployment/arcetri-": f"{NAME}/deployment/{NAME}-",
        "deployment/arcetri-hub": f"deployment/{NAME}-hub",
        "arcetri-sessions": f"{NAME}-sessions",
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


def _remove(cluster: Cluster) -> None:
    gone = ["--now", "--ignore-not-found", "--timeout=90s"]
    cluster.run(["helm", "uninstall", NAME, f"--namespace={NAME}", "--ignore-not-found"])
    spaces = [NAME, *(f"{NAME}-{part}" for part in ("sessions", "storage", "agents"))]
    cluster.run(["kubectl", "delete", "namespace", *spaces, *gone])
    for one in cluster.kubectl("get", "pv")["items"]:
        if one["spec"].get("claimRef", {}).get("namespace") in spaces:
            cluster.run(["kubectl", "delete", "pv", one["metadata"]["name"], *gone])
            if local := one["spec"].get("local"):
                cluster.run(["rm", "-rf", local["path"]])
    cluster.apply(*volumes.made(cluster.state))
    cluster.run(["rm", "-rf", "/var/lib/arcetri-try"])


@pytest.mark.timeout(900)
def test_the_tutorial_is_what_happens(shell: Shell) -> None:
    found = [one for one in blocks(PAGE.read_text()) if one.mark.startswith(ON_CLUSTER)]
    assert len(found) > 8
    for block in found:
        try:
            shell.run(replace(block, mark=block.mark.replace(ON_CLUSTER, "tested")))
        except AssertionError as error:
            raise AssertionError(f"{PAGE.name}:{block.line}\n{error}") from None
