"""From a device that becomes free to the next container on it: ours, and a bare pod of Kueue's.

The real node has two T4. One is the notebooks': somebody holds it, somebody else waits in line; the
first one stops, and the platform starts the second. The other one is for bare pods that Kueue's own
integration manages, of the same image, with the same resources, home and shared memory: one holds
it, one is gated, the first is deleted. Both are measured in turn, by the clock of containerd alone:
from the end of the one container to the start of the next.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final, TypeVar

from benchmarks.cluster import hubs, site
from benchmarks.hubs import GROUP, Hub
from benchmarks.stats import interleave, ratio_of_medians
from tests.cluster import addresses, images, volumes
from tests.cluster import kueue as real
from tests.cluster.cluster import Cluster
from tests.cluster.pods import pod

T = TypeVar("T")

PAIRS = 30
WARM_UP: Final = 2
PATIENCE: Final = 60.0
SETTLE_SECONDS: Final = 1.0
"""For which the next one has stood in line before the device becomes free."""
BARE: Final = "bare"
"""Namespace, queue and flavour of the bare pods."""
CLAIM: Final = "shared"
GPU: Final = "nvidia.com/gpu"
KUEUE: Final = f"system:serviceaccount:{real.NAMESPACE}:{real.MANAGER}"
OURS: Final = f"system:serviceaccount:{hubs.OUR_ACCOUNT}"
SERVE: Final = "trap 'exit 0' TERM; sleep infinity & wait"


def run(pairs: int = PAIRS) -> dict[str, Any]:
    """Measure in turn, and say where the time goes."""
    users = site.people(2)
    with (
        tempfile.TemporaryDirectory(prefix="arcetri-bench-") as name,
        site.started("latency") as cluster,
    ):
        real.install(cluster, frameworks=["pod"])
        image = cluster.load(images.MINIMAL)
        groups = {GROUP: {"flavors": {"gpu": {"quota": 1}}}}
        with (
            hubs.ours(
                cluster, Path(name), image, users, flavor="gpu", groups=groups, queues="bench"
            ) as hub,
            _containers(cluster) as containers,
        ):
            for number, user in enumerate(users):
                site.home(cluster, site.OURS, f"home/{user}", hubs.FIRST_NUMBER + number)
            audit = site.Audit(cluster)
            ours = _Ours(hub, cluster, containers, audit, list(users))
            bare = _Bare(cluster, containers, audit, image)
            ours.begin()
            bare.begin()
            mine, theirs = interleave(ours.once, bare.once, pairs=pairs, warm_up=WARM_UP)
    return {
        "seconds": ratio_of_medians(mine, theirs).to_json(),
        "steps": {"ours": _steps(ours.steps), "bare": _steps(bare.steps)},
    }


def _steps(found: list[dict[str, float]]) -> dict[str, float]:
    """The median moment of each step, in seconds since the device became free."""
    names = dict.fromkeys(name for one in found for name in one)
    return {name: median(one[name] for one in found if name in one) for name in names}


# What the container runtime says


@dataclass(slots=True)
class Containers:
    """When containers began and ended, by containerd's own clock."""

    started: dict[str, float] = field(default_factory=dict)
    exited: dict[str, float] = field(default_factory=dict)

    def note(self, line: str) -> None:
        """Take a line of ``ctr events``."""
        found = re.match(r"(\S+ \S+) \S+ \S+ \S+ (/tasks/start|/tasks/exit) (\{.*\})$", line)
        if found is None:
            return
        said = json.loads(found[3])
        # What runs beside a container's first process has an id of its own.
        if said.get("id", said["container_id"]) == said["container_id"]:
            into = self.started if found[2] == "/tasks/start" else self.exited
            into[said["container_id"]] = _moment(found[1].replace(" ", "T"))


def _moment(text: str) -> float:
    """A moment in UTC with up to nine digits of a second."""
    whole, _, part = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp() + float(f"0.{part or 0}")


@contextlib.contextmanager
def _containers(cluster: Cluster) -> Iterator[Containers]:
    found = Containers()
    entering = [word for word in cluster.entering() if word != "--pid"]
    command = ["setpriv", "--pdeathsig=KILL", "ctr", "--namespace=k8s.io", "events"]
    process = subprocess.Popen(  # noqa: S603 - our own words
        [*entering, *command],
        env=cluster.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )

    def read() -> None:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        for line in process.stdout:
            found.note(line.rstrip("\n"))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield found
    finally:
        process.kill()
        process.wait()
        reader.join(10)


# What the API server says


def _asked(
    events: list[dict[str, Any]], who: str, verbs: str, resource: str, name: str = ""
) -> list[float]:
    """The moments of somebody's requests."""
    return [
        _moment(one["stageTimestamp"])
        for one in events
        if one["user"]["username"] == who
        and one["verb"] in verbs.split()
        and one.get("objectRef", {}).get("resource") == resource
        and one.get("responseStatus", {}).get("code", 0) < 300
        and name in one.get("objectRef", {}).get("name", "")
    ]


# The two of which one waits for the other's device


@dataclass(slots=True)
class _Handed:
    """A pod that is to end, and the one that begins then."""

    cluster: Cluster
    containers: Containers
    namespace: str

    def container(self, name: str) -> str:
        """The id of a pod's only container, once it runs."""

        def found() -> str:
            command = ["kubectl", "get", "pod", name, f"--namespace={self.namespace}"]
            text = self.cluster.run([*command, "--ignore-not-found", "--output=json"])
            states = json.loads(text or "{}").get("status", {}).get("containerStatuses", [])
            return next((s["containerID"] for s in states if "running" in s["state"]), "")

        return _until(found, f"{name} runs", 0.3).partition("://")[2]

    def between(self, old: str, new: str) -> tuple[float, float]:
        """When the one container ended, and when the other began."""
        return (
            _until(lambda: self.containers.exited.get(old, 0.0), f"{old} ends"),
            _until(lambda: self.containers.started.get(new, 0.0), f"{new} begins"),
        )

    def sandbox(self, since: float, until: float) -> float:
        """When the last container before one began, which is its sandbox's."""
        return max((at for at in self.containers.started.values() if since < at < until), default=0)


class _Ours:
    """Notebooks: one holds the device, the other waits in the platform's line."""

    def __init__(
        self,
        hub: Hub,
        cluster: Cluster,
        containers: Containers,
        audit: site.Audit,
        users: list[str],
    ) -> None:
        self._hub = hub
        self._handed = _Handed(cluster, containers, site.OURS)
        self._audit = audit
        self._holds, self._waits = users
        self._container = ""
        self.steps: list[dict[str, float]] = []

    def begin(self) -> None:
        """Have one hold the device, and one wait."""
        with self._hub.client(self._holds) as api:
            self._hub.ask(api, self._holds)
            self._hub.wait_ready(api, self._holds)
        self._container = self._handed.container(f"session-{self._request(self._holds)}")
        self._stand_in_line()

    def once(self) -> float:
        """Stop the one that holds it; seconds until the other's container begins."""
        request = self._request(self._waits)
        self._audit.since_last()
        with self._hub.client(self._holds) as api:
            api.delete(f"/users/{self._holds}/server").raise_for_status()
        _until(lambda: self._is(self._waits, "running"), "the next one runs")
        new = self._handed.container(f"session-{request}")
        free, begun = self._handed.between(self._container, new)
        self._note(request, free, begun)
        self._container = new
        self._holds, self._waits = self._waits, self._holds
        self._stand_in_line()
        return begun - free

    def _note(self, request: str, free: float, begun: float) -> None:
        events = self._audit.since_last()
        made = [at for at in _asked(events, OURS, "create", "pods") if at < begun]
        steps = {
            "ticket_given_back": _asked(events, OURS, "delete", "workloads"),
            "next_admitted": [
                at
                for at in _asked(events, KUEUE, "update patch", "workloads", request)
                if not made or at < made[-1]
            ],
            "pod_created": made,
            "sandbox_started": [self._handed.sandbox(free, begun)],
            "container_started": [begun],
        }
        self.steps.append({name: max(at) - free for name, at in steps.items() if at})

    def _stand_in_line(self) -> None:
        with self._hub.client(self._waits) as api:
            _until(lambda: not api.get(f"/users/{self._waits}").json()["servers"], "it is over")
            self._hub.ask(api, self._waits)
        _until(lambda: self._is(self._waits, "waiting"), "the next one waits")
        _until(lambda: self._is(self._holds, "running"), "the first one holds it")
        time.sleep(SETTLE_SECONDS)

    def _is(self, user: str, state: str) -> bool:
        return self._hub.rows(
            "select 1 from arcetri_request where username = ? and state = ?", user, state
        ) == [(1,)]

    def _request(self, user: str) -> str:
        ((found,),) = self._hub.rows(
            "select id from arcetri_request where username = ? and state != 'ended'", user
        )
        return f"{found[:8]}-{found[8:12]}-{found[12:16]}-{found[16:20]}-{found[20:]}"


class _Bare:
    """Bare pods in a queue of Kueue's: one holds the device, the other is gated."""

    def __init__(
        self, cluster: Cluster, containers: Containers, audit: site.Audit, image: str
    ) -> None:
        self._cluster = cluster
        self._handed = _Handed(cluster, containers, BARE)
        self._audit = audit
        self._image = image
        self._number = 0
        self._container = ""
        self.steps: list[dict[str, float]] = []

    def begin(self) -> None:
        """Make the queue, have one pod run and one wait."""
        self._cluster.apply(*_queue())
        folder = self._cluster.state.folder / f"homes-{BARE}"
        folder.mkdir()
        self._cluster.apply(*volumes.on_the_node(BARE, CLAIM, BARE, path=str(folder)))
        condition = ["--for=condition=Active", "--timeout=60s", f"localqueue/{BARE}"]
        self._cluster.run(["kubectl", "wait", f"--namespace={BARE}", *condition])
        self._stand_in_line()
        self._container = self._handed.container(self._name)
        self._stand_in_line()

    def once(self) -> float:
        """Delete the pod that holds it; seconds until the other's container begins."""
        holds, waits = f"pod-{self._number - 1}", self._name
        self._audit.since_last()
        command = ["kubectl", "delete", "pod", holds, f"--namespace={BARE}", "--wait=false"]
        self._cluster.run(command)
        new = self._handed.container(waits)
        free, begun = self._handed.between(self._container, new)
        ungated = _asked(self._audit.since_last(), KUEUE, "update patch", "pods", waits)
        steps = {
            "pod_ungated": [at for at in ungated if at < begun],
            "sandbox_started": [self._handed.sandbox(free, begun)],
            "container_started": [begun],
        }
        self.steps.append({name: max(at) - free for name, at in steps.items() if at})
        self._container = new
        self._stand_in_line()
        return begun - free

    @property
    def _name(self) -> str:
        return f"pod-{self._number}"

    def _stand_in_line(self) -> None:
        self._number += 1
        made = pod(
            self._name,
            BARE,
            image=self._image,
            labels={"kueue.x-k8s.io/queue-name": BARE},
            container={
                "command": ["sh", "-c", SERVE],
                "resources": _resources(),
                "volumeMounts": [
                    {"name": "home", "mountPath": "/home/somebody"},
                    {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - the very folder
                ],
            },
            spec={
                "nodeSelector": {"kubernetes.io/hostname": addresses.NODE_NAME},
                "volumes": [
                    {"name": "home", "persistentVolumeClaim": {"claimName": CLAIM}},
                    {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
                ],
            },
        )
        self._cluster.apply(made)
        time.sleep(SETTLE_SECONDS)


def _resources() -> dict[str, Any]:
    """What a session of the benchmark's size asks for."""
    amounts = {"cpu": str(hubs.SIZE["cpu"]), "memory": str(hubs.SIZE["memory"]), GPU: "1"}
    return {"limits": amounts, "requests": amounts}


def _queue() -> list[dict[str, Any]]:
    """A queue for one bare pod at a time, the plainest that Kueue has."""
    api = {"apiVersion": "kueue.x-k8s.io/v1beta2"}
    quotas = {"cpu": "10", "memory": "100Gi", GPU: "1"}
    resources = [{"name": name, "nominalQuota": amount} for name, amount in quotas.items()]
    flavor = {"name": BARE, "resources": resources}
    return [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": BARE, "labels": {real.MANAGED: "true"}},
        },
        {
            **api,
            "kind": "ResourceFlavor",
            "metadata": {"name": BARE},
            "spec": {"nodeLabels": {"kubernetes.io/hostname": addresses.NODE_NAME}},
        },
        {
            **api,
            "kind": "ClusterQueue",
            "metadata": {"name": BARE},
            "spec": {
                "namespaceSelector": {},
                "resourceGroups": [{"coveredResources": list(quotas), "flavors": [flavor]}],
            },
        },
        {
            **api,
            "kind": "LocalQueue",
            "metadata": {"name": BARE, "namespace": BARE},
            "spec": {"clusterQueue": BARE},
        },
    ]


def _until(condition: Callable[[], T], what: str, pause: float = 0.1) -> T:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {PATIENCE:.0f} seconds: {what}")
        time.sleep(pause)
    return found
