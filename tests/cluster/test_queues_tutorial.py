"""The tutorial of a farm that groups share, run as an admin would, on the tests' cluster.

The platform is run from its parts; that the chart's hub waits in the chart's queues is for others.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from kueue_client import Kueue
from tests.cluster import hub, volumes
from tests.cluster import kueue as real
from tests.cluster.cluster import Cluster
from tests.cluster.hub import Hub
from tests.cluster.installation import clear
from tests.docs.console import Shell, blocks
from tests.docs.test_pages import ON_CLUSTER

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorials" / "queues.md"
NAME = "toured"
NAMESPACE = f"{NAME}-sessions"
PLATFORM = "not tested: the tests start the platform"
"""Begins the mark of the block after which the platform is there."""


@pytest.fixture
def sessions(with_kueue: Cluster, tmp_path: Path) -> Iterator[Cluster]:
    """The cluster, with a namespace for sessions and the claims of the example's catalog."""
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": NAMESPACE, "labels": label}
    with_kueue.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    claims = [(claim, f"{NAME}-{claim}") for claim in ("shared", "datasets")]
    for claim, volume in claims:
        folder = with_kueue.state.folder / volume
        folder.mkdir(exist_ok=True)
        with_kueue.apply(*volumes.on_the_node(NAMESPACE, claim, volume, path=str(folder)))
    try:
        yield with_kueue
    finally:
        gone = ["--now", "--ignore-not-found", "--timeout=90s"]
        with_kueue.run(["kubectl", "delete", "namespace", NAMESPACE, *gone])
        with_kueue.run(["kubectl", "delete", "pv", *(volume for _, volume in claims), *gone])
        servers = [f"server-{number}" for number in range(1, 5)]
        with_kueue.run(["kubectl", "delete", "node", *servers, *gone])
        with (
            real.reachable(with_kueue, tmp_path) as path,
            Kueue.from_kubeconfig(path) as kueue,
        ):
            clear(kueue, f"app.kubernetes.io/instance={NAME}")


@pytest.fixture
def shell(sessions: Cluster, tmp_path: Path) -> Iterator[Shell]:
    """A person's shell in a clone, with the tests' cluster as theirs."""
    folder = tmp_path / "clone"
    folder.mkdir()
    for name in ("Makefile", ".venv", "helm", "tests", "tools", "images", "pyproject.toml",
                 "README.md", "requirements", "hub", "spawner", "accounting"):  # fmt: skip
        (folder / name).symlink_to(ROOT / name)
    environment = {**os.environ, "NAME": str(sessions.state.folder)}
    environment.pop("MAKEFLAGS", None)
    replaced = {"arcetri-arcetri": NAME, "arcetri-sessions": NAMESPACE}
    made = Shell(folder, environment, replaced)
    try:
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def _platform(cluster: Cluster, shell: Shell) -> Iterator[Hub]:
    """What the page has its reader install: the catalog and the queues that it has made."""
    catalog = yaml.safe_load((shell.folder / "farm.yaml").read_text(encoding="utf-8"))
    state = shell.folder / "state"
    with hub.running(cluster, state, NAMESPACE, catalog, queues=NAME) as made:
        iam = made.settings.iam.issuer.rstrip("/")
        addresses = {
            "http://127.0.0.1:8000": made.settings.public_url,
            "http://127.0.0.1:8005": iam,
        }
        shell.replace = {**shell.replace, **addresses}
        shell.token = made.platform.token
        yield made


@pytest.mark.timeout(600)
def test_the_tutorial_is_what_happens(sessions: Cluster, shell: Shell) -> None:
    ran = 0
    with contextlib.ExitStack() as stack:
        for block in blocks(PAGE.read_text(encoding="utf-8")):
            if block.mark.startswith(PLATFORM):
                stack.enter_context(_platform(sessions, shell))
            elif block.mark.startswith(ON_CLUSTER):
                here = replace(block, mark=block.mark.replace(ON_CLUSTER, "tested"))
                try:
                    shell.run(here)
                except AssertionError as error:
                    raise AssertionError(f"{PAGE.name}:{block.line}\n{error}") from None
                ran += 1
    assert ran > 15
