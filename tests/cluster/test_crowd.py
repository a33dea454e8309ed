"""A hub killed again and again while dozens wait, start and run: none is lost, none passed by.

Simulated nodes; the API server, the scheduler and Kueue are real.
"""

from __future__ import annotations

import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import combinations
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import yaml

from arcetri_accounting.contract import podmarks
from arcetri_spawner.backends.kubernetes.kueue.asking import Whose, whose
from arcetri_spawner.store import Store
from kueue_client import ConditionType
from tests.cluster import crowd, hub, podworld
from tests.cluster.cluster import Cluster
from tests.cluster.components import SIMULATED
from tests.cluster.installation import GPU, LABEL, Installation, installation
from tests.support.platform import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(420)]

INSTANCE = "0123456789abcdef0123456789abcdef"
QUOTAS = {"cms": 3, "atlas": 1}
"""Of the four T4 of the node, all of which run."""
ASKS = [(f"{group}-{number:02}", "t4") for number in range(20) for group in QUOTAS]
"""Forty people, in two lines."""


@dataclass(slots=True)
class Seen:
    """All that was ever seen of the requests and their Workloads."""

    places: dict[UUID, set[str]] = field(default_factory=lambda: defaultdict(set))
    """The uids of each request's Workloads."""
    pods: dict[UUID, set[str]] = field(default_factory=lambda: defaultdict(set))
    whose: dict[str, Whose] = field(default_factory=dict)
    asked: dict[str, datetime] = field(default_factory=dict)
    admitted: dict[str, datetime] = field(default_factory=dict)
    """When each Workload's turn first came."""


@dataclass(slots=True)
class Crowd:
    """One hub after another, and those who want something of it."""

    farm: Installation
    folder: Path
    kubeconfig: Path
    seen: Seen = field(default_factory=Seen)
    ends: list[str] = field(default_factory=list)
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start a hub; it goes on with what the one before was told."""
        (self.folder / "recovered").unlink(missing_ok=True)
        names = self.farm.names
        place = (self.folder, names.namespace, INSTANCE, self.kubeconfig, names.instance)
        module = ["tests.cluster.crowd", *map(str, place)]
        self._process = hub.inside(self.farm.cluster, module, self.folder / "log", {})

    def recovered(self) -> bool:
        """Whether the hub knows what the one before it did."""
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        return (self.folder / "recovered").exists()

    def kill(self) -> None:
        """Kill it with -9."""
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        self._process.kill()
        self._process.wait(20)

    def log(self) -> str:
        """What the hubs have said."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def states(self) -> Counter[str]:
        """How many requests are in which state."""
        self.look()
        return Counter(state for (state,) in crowd.rows(self.folder, _STATES))

    def running(self) -> list[str]:
        """Whose sessions run and were not ended yet."""
        self.look()
        found = crowd.rows(self.folder, _RUNNING)
        return [name for (name,) in found if name not in self.ends]

    def end(self, names: list[str]) -> None:
        """Have people stop their sessions."""
        self.ends += names
        crowd.tell(self.folder, "ends", self.ends)

    def look(self) -> None:
        """See what the cluster has of them."""
        where, seen = self.farm.names.namespace, self.seen
        for one in self.farm.kueue.workloads.list(where).items:
            if (who := whose(one)) is None or one.metadata.creation_timestamp is None:
                continue
            uid = str(one.metadata.uid)
            seen.places[who.request].add(uid)
            seen.whose[uid] = who
            seen.asked[uid] = one.metadata.creation_timestamp
            given = one.condition(ConditionType.ADMITTED)
            if given is not None and given.holds:
                seen.admitted.setdefault(uid, given.last_transition_time)
        for pod in self.farm.cluster.kubectl("get", "pods", f"--namespace={where}")["items"]:
            session = pod["metadata"]["labels"].get(podmarks.SESSION)
            if session:
                seen.pods[UUID(session)].add(pod["metadata"]["uid"])


_STATES = "select state from arcetri_request"
_RUNNING = "select username from arcetri_request where state = 'running'"


@pytest.fixture
def people(with_kueue: Cluster, tmp_path: Path) -> Iterator[Crowd]:
    namespace = f"crowd-{uuid4().hex[:6]}"
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    with_kueue.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": namespace, "labels": label},
        }
    )
    own = tmp_path / "hub"
    own.mkdir()
    kubeconfig = hub.account(with_kueue, own, namespace, queues=True)
    with installation(with_kueue, namespace, tmp_path) as farm:
        text = yaml.safe_load(podworld.CATALOG)
        text["flavors"] = {
            "t4": {
                "title": "T4",
                "resource": GPU,
                "nodes": {LABEL: farm.names.instance},
                "tolerations": [SIMULATED.partition("=")[0]],
            },
            "cpu": {"title": "No accelerator"},
        }
        text["groups"] = {
            f"/lab/{group}": {"flavors": {"t4": {"quota": quota}}}
            for group, quota in QUOTAS.items()
        }
        (tmp_path / "profiles.yaml").write_text(yaml.safe_dump(text), encoding="utf-8")
        farm.sync()
        Store.open(f"sqlite:///{tmp_path / 'arcetri.sqlite'}").close()
        made = Crowd(farm, tmp_path, kubeconfig)
        try:
            yield made
        finally:
            if made._process is not None:
                made._process.kill()
                made._process.wait(20)
            with_kueue.run(
                ["kubectl", "delete", "pods", "--all", f"--namespace={namespace}", "--now"]
            )
    with_kueue.run(["kubectl", "delete", "namespace", namespace, "--wait=false", "--now"])


def test_a_killed_hub_loses_nobody_and_nobodys_place(people: Crowd) -> None:
    crowd.tell(people.folder, "asks", ASKS)
    people.start()
    # While they ask: some start, some wait, one's answer never comes.
    until(lambda: people.states().total() >= 15, "some have asked", 120)
    people.kill()
    people.start()
    until(people.recovered, "the next one knows", 60)
    until(lambda: people.states().total() == len(ASKS), "all have asked", 120)
    room = sum(QUOTAS.values())
    until(lambda: len(people.running()) == room, "as many run as there is room for", 120)
    # While some end and others start in their place, and while it recovers.
    people.end(people.running())
    until(lambda: people.states()["starting"] or people.running(), "others start", 60)
    people.kill()
    people.start()
    time.sleep(1.5)
    people.kill()
    people.start()
    until(people.recovered, "the next one knows", 60)
    for _ in range(2):
        until(lambda: len(people.running()) == room, "the next ones run", 120)
        people.end(people.running())
    until(lambda: len(people.running()) == room, "the next ones run", 120)
    states = people.states()
    assert (states["running"], states["waiting"]) == (room, len(ASKS) - room - len(people.ends))

    # Everybody asked once, whoever was killed; who ran was stopped by nobody but themselves. A
    # start that was killed before its pod was whole was followed by another one, at its place.
    rows = crowd.rows(people.folder, "select id, username, state, reason from arcetri_request")
    cut = [UUID(str(one)) for one, _, _, reason in rows if reason == "interrupted"]
    whole = {UUID(str(one)): row for one, *row in rows if UUID(str(one)) not in cut}
    assert sorted(name for name, _, _ in whole.values()) == sorted(name for name, _ in ASKS)
    assert {reason for _, state, reason in whole.values() if state == "ended"} == {"stopped"}
    # One place each, all the time; one pod each, for those whose turn came.
    seen = people.seen
    assert whole.keys() <= seen.places.keys()
    assert {len(uids) for uids in seen.places.values()} == {1}
    assert len(seen.whose) == len(ASKS)
    assert {len(uids) for uids in seen.pods.values()} == {1}
    ran = {one for one, (_, state, _) in whole.items() if state != "waiting"}
    assert ran <= seen.pods.keys() <= ran.union(cut)
    # Nobody was passed by: Kueue tells ages to the second.
    for one, other in combinations(seen.whose, 2):
        first, second = sorted((one, other), key=lambda uid: seen.asked[uid])
        same = seen.whose[one].group == seen.whose[other].group
        if same and seen.asked[first] < seen.asked[second] and second in seen.admitted:
            assert first in seen.admitted, (first, second)
            assert seen.admitted[first] <= seen.admitted[second]
