"""What the hub's account may do, and must not: asked of the real API server."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.cluster import hub
from tests.cluster.cluster import Cluster

pytestmark = pytest.mark.cluster

MAY = (
    ("list", "nodes", ""),
    ("watch", "nodes", ""),
    ("list", "pods", ""),
    ("watch", "pods", "kube-system"),
    ("create", "pods", "own"),
    ("get", "pods", "own"),
    ("delete", "pods", "own"),
    ("create", "secrets", "own"),
    ("watch", "events", "own"),
)
MUST_NOT = (
    ("get", "secrets", "own"),
    ("list", "secrets", "own"),
    ("create", "pods", "kube-system"),
    ("delete", "pods", "default"),
    ("create", "secrets", "arcetri"),
    ("create", "pods/exec", "own"),
    ("get", "pods/log", "own"),
    ("patch", "pods", "own"),
    ("delete", "nodes", ""),
    ("patch", "nodes", ""),
    ("create", "serviceaccounts/token", "arcetri"),
    ("list", "configmaps", "own"),
    ("create", "rolebindings", "own"),
    ("impersonate", "users", ""),
)


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    """Where the account may make sessions."""
    name = "rights"
    for one in (name, hub.HOME):
        metadata = {"name": one}
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    cluster.apply(*hub.rights(name))
    yield name
    cluster.run(["kubectl", "delete", "namespace", name, "--wait=false", "--now"])


def _may(cluster: Cluster, namespace: str, verb: str, what: str, where: str) -> bool:
    place = namespace if where == "own" else where
    kind, _, part = what.partition("/")
    command = ["kubectl", "auth", "can-i", verb, kind, *([f"--subresource={part}"] if part else [])]
    command += [f"--namespace={place}"] if place else ["--all-namespaces"]
    command += [f"--as=system:serviceaccount:{hub.HOME}:{hub.ACCOUNT}"]
    result = subprocess.run(
        [*cluster.entering(), *command],
        env=cluster.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    answer = result.stdout.strip().splitlines()[-1:]
    assert answer in (["yes"], ["no"]), result.stderr
    return answer == ["yes"]


def test_it_may_do_what_it_does_and_nothing_else(cluster: Cluster, namespace: str) -> None:
    asked = {(*one, True) for one in MAY} | {(*one, False) for one in MUST_NOT}
    found = {
        (verb, what, where, _may(cluster, namespace, verb, what, where))
        for verb, what, where, _ in asked
    }
    assert found == asked
