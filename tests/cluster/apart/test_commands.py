"""The commands of the Makefile as a person gives them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import pytest

from tests.cluster import addresses, cgroups, launch
from tests.cluster.cluster import Cluster
from tests.cluster.state import State
from tests.support.platform import listening, until

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[3]
PAGE = f"kube-dns.kube-system.svc.{addresses.DOMAIN}:9153"
"""Something in every cluster that a browser can read."""


@pytest.fixture
def name() -> Iterator[str]:
    """A name of this test's own; whatever has it at the end is ended."""
    name = f"person-{uuid4().hex[:8]}"
    yield name
    launch.stop(launch.place(name))


def told(target: str, name: str, *words: str) -> list[str]:
    """The words of a command of the Makefile."""
    return ["make", "--no-print-directory", target, f"NAME={name}", *words]


def environment() -> dict[str, str]:
    """A terminal's, also where make runs these tests."""
    found = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return {**found, "SHELL": "/bin/sh"}


def make(target: str, name: str, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    """Give a command, and wait until it is done."""
    return subprocess.run(
        told(target, name, *words),
        cwd=ROOT,
        env=environment(),
        input=typed,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def begun(target: str, name: str, *words: str) -> subprocess.Popen[str]:
    """Give a command in a terminal of its own, and leave it to itself."""
    return subprocess.Popen(
        told(target, name, *words),
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def processes(state: State) -> list[int]:
    """All of a cluster, from its outer process on, as the machine numbers them."""
    outer = json.loads(state.record.read_text(encoding="utf-8"))["outer"]
    children = psutil.Process(outer).children(recursive=True)
    return [outer, *(one.pid for one in children)]


def is_gone(state: State, theirs: list[int]) -> None:
    """See that nothing of a cluster is left on the machine."""
    until(lambda: not any(map(psutil.pid_exists, theirs)), "its processes are gone", 20)
    assert str(state.folder) not in Path("/proc/mounts").read_text(encoding="utf-8")
    assert not state.folder.exists()
    assert not cgroups.left(state.word)


def test_a_cluster_is_started_beside_another_killed_and_cleared_up(
    cluster: Cluster, name: str, record_property: Callable[[str, object], None]
) -> None:
    state = launch.place(name)
    up = make("cluster-up", name)
    assert up.returncode == 0, up.stdout + up.stderr
    for command in ("run CMD=", "shell", "image IMAGE=", "forward TO=", "down"):
        assert re.search(rf"make cluster-{command}.* NAME={name}$", up.stdout, re.MULTILINE)
    took = re.search(r"is ready \((\d+ s after \d+ s of building)\)", up.stdout)
    assert took, up.stdout
    record_property("make cluster-up", took[1])
    made = make("cluster-run", name, "CMD=kubectl create namespace of-a-person")
    assert made.stdout == "namespace/of-a-person created\n", made.stderr
    assert not cluster.ask(["kubectl", "get", "namespace", "of-a-person", "--ignore-not-found"])
    again = make("cluster-up", name)
    assert again.returncode != 0
    assert f"make cluster-down NAME={name}" in again.stderr

    theirs = processes(state)
    os.kill(theirs[0], signal.SIGKILL)
    until(lambda: not any(map(psutil.pid_exists, theirs)), "its processes are gone", 20)
    ended = make("cluster-run", name, "CMD=true")
    assert ended.returncode != 0
    assert f"make cluster-up NAME={name}" in ended.stderr
    down = make("cluster-down", name)
    assert down.returncode == 0, down.stderr
    assert f"The cluster {name} is gone." in down.stdout
    is_gone(state, theirs)
    missing = make("cluster-down", name)
    assert missing.returncode != 0
    assert f"make cluster-up NAME={name}" in missing.stderr
    assert cluster.ask(["kubectl", "get", "nodes", "--output=name"])


def test_a_cluster_that_still_starts_is_ended(name: str) -> None:
    state = launch.place(name)
    with begun("cluster-up", name) as up:
        until(lambda: state.record.exists() and len(processes(state)) > 2, "it starts", 60)
        theirs = processes(state)
        down = make("cluster-down", name)
        assert down.returncode == 0, down.stderr
        said, wrong = up.communicate(timeout=60)
    assert up.returncode != 0
    assert "is ready" not in said
    assert "The cluster ended" in wrong
    assert "Traceback" not in wrong
    is_gone(state, theirs)


def test_commands_are_run_inside_as_they_are_typed(cluster: Cluster) -> None:
    name = str(cluster.state.folder)
    quoted = make("cluster-run", name, "CMD=printf '%s|' 'a  b' \"c'd\"; helm version --short >&2")
    assert quoted.stdout == "a  b|c'd|", quoted.stderr
    assert "v4." in quoted.stderr
    assert make("cluster-run", name, "CMD=exit 3").returncode != 0
    patient = "until kubectl get nodes --output=name; do sleep 1; done\nexit\n"
    node = make("cluster-shell", name, typed=patient)
    assert f"node/{addresses.NODE_NAME}" in node.stdout.split(), node.stderr


def test_a_page_inside_is_reached_until_ctrl_c(cluster: Cluster) -> None:
    with begun("cluster-forward", str(cluster.state.folder), f"TO={PAGE}") as way:
        assert way.stdout is not None
        told = way.stdout.readline()
        found = re.fullmatch(rf"(http://127\.0\.0\.1:(\d+)) leads to {PAGE}\.\n", told)
        assert found, told
        assert way.stdout.readline() == "Ctrl-C ends it.\n"
        page = httpx.get(f"{found[1]}/metrics", trust_env=False, timeout=30)
        assert "coredns_build_info" in page.text
        os.killpg(way.pid, signal.SIGINT)
        _, wrong = way.communicate(timeout=30)
    assert "Traceback" not in wrong
    assert "Aborted" not in wrong
    assert not listening(int(found[2]))


def test_a_killed_cluster_at_a_path_is_called_by_its_path_and_cleared_up(tmp_path: Path) -> None:
    state = State(tmp_path / "there")
    state.folder.mkdir()
    # Nobody's folder: it is not touched.
    assert "No cluster runs in" in make("cluster-down", str(state.folder)).stderr
    state.record.write_text(json.dumps({"outer": 1, "first": 1, "begun": 0}), encoding="utf-8")
    assert f"make cluster-up NAME={state.folder}" in make("cluster-shell", str(state.folder)).stderr
    assert make("cluster-down", str(state.folder)).returncode == 0
    assert not state.folder.exists()
