"""A cluster comes, runs beside another, and goes without a trace, also when it is killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from tests.cluster import cgroups, launch
from tests.cluster.cache import ClusterError
from tests.cluster.cluster import Cluster
from tests.cluster.pods import pod, running
from tests.cluster.state import State
from tests.support.platform import until

COMPONENTS = {"etcd", "kube-apiserver", "kubelet", "containerd", "kube-proxy", "coredns", "pause"}


@pytest.fixture
def owner() -> Iterator[subprocess.Popen[bytes]]:
    """A process that a cluster ends with, as with a test run."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


@pytest.fixture
def second(cluster: Cluster, owner: subprocess.Popen[bytes]) -> Iterator[Cluster]:
    """Another cluster beside the shared one, with the same addresses."""
    state = State(launch.states() / f"{cluster.state.name}-b")
    try:
        yield launch.start(state, owner=owner.pid)
    finally:
        launch.stop(state)


def _inside(cluster: Cluster) -> dict[int, str]:
    """The processes of a cluster, as the machine numbers them, and their names."""
    first = psutil.Process(json.loads(cluster.state.record.read_text(encoding="utf-8"))["first"])
    found = {}
    for process in (first, *first.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            found[process.pid] = process.name()
    return found


@pytest.mark.cluster
@pytest.mark.parametrize("victim", ["the outer process", "the owner"])
def test_killing_one_process_leaves_nothing_of_a_cluster_and_all_of_the_other(
    cluster: Cluster, second: Cluster, owner: subprocess.Popen[bytes], victim: str
) -> None:
    second.apply(pod("lives", "default"))
    second.until("pod", "lives", running)
    assert not cluster.ask(["kubectl", "get", "pod", "lives", "--ignore-not-found"])
    theirs = _inside(second)
    assert set(theirs.values()) >= COMPONENTS

    outer = json.loads(second.state.record.read_text(encoding="utf-8"))["outer"]
    os.kill(owner.pid if victim == "the owner" else outer, signal.SIGKILL)
    until(lambda: not any(map(psutil.pid_exists, theirs)), "its processes are gone", 20)
    until(lambda: not launch.alive(second.state), "the outer process is gone", 5)
    assert str(second.state.folder) not in Path("/proc/mounts").read_text(encoding="utf-8")
    launch.sweep()
    assert not second.state.folder.exists()
    assert not cgroups.left(second.state.word)
    # Others may have ended some of the shared one's, and start them again.
    until(lambda: set(_inside(cluster).values()) >= COMPONENTS, "the other is whole")
    assert cluster.ask(["kubectl", "get", "nodes", "--output=name"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Mine!", "cannot be called 'Mine!'"),
        (f"/tmp/{'long/' * 20}one", "is too long"),  # noqa: S108  # nothing is made there
        ("/var/lib/mine", "Choose another place"),
    ],
)
def test_a_state_folder_that_cannot_be_one_is_refused(name: str, said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        launch.place(name)


def test_a_cluster_that_does_not_run_is_said_to_be_absent() -> None:
    name = f"absent-{uuid4().hex[:8]}"
    with pytest.raises(ClusterError, match=f"make cluster-up NAME={name}"):
        launch.find(launch.place(name))
