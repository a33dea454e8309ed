"""The agent over a cluster's node: killed at any moment, with pods that come and go, it counts all.

The kubelet and the API server are what a test says; both real ones are in ``tests/cluster``.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from arcetri_accounting.agent.allocations import SourceError
from arcetri_accounting.agent.figures import Figures
from arcetri_accounting.agent.pods.facts import Gone, Snapshot
from arcetri_accounting.agent.pods.joining import Terms
from arcetri_accounting.agent.pods.source import PodSource
from arcetri_accounting.agent.settings import DEFAULT_RESOURCES
from arcetri_accounting.client.apiserver import ApiServer
from tests.accounting.agent.pods import SESSIONS, T4, WALL, Container, HandPod, Node, marks
from tests.accounting.agent.world import World, total


class PodWorld(World):
    """A node of a cluster: what is said of its pods goes to the agent's own source."""

    def __init__(self, folder: Path) -> None:
        self.node = Node()
        self.kubelet = self.api = True
        self.left: list[HandPod] = []
        self.record = folder / "spool.db.pods"
        self.said: Snapshot | None = None
        super().__init__(folder)
        # So that moments are whole seconds of the wall clock, as Kubernetes says them.
        self.clock.wall = WALL + self.clock.boot
        self.restart()

    def start_agent(self) -> None:
        """Another process: it knows what was kept, and nothing else."""
        terms = Terms("n1", frozenset({SESSIONS}), DEFAULT_RESOURCES)
        server = ApiServer("https://192.0.2.1", self.folder / "token", self.folder / "ca.crt")
        self.pods = PodSource(
            terms, self.record, self.folder / "socket", server, self.clock, Figures(), 1
        )
        self.pods._watch.snapshot = lambda: self.said  # type: ignore[method-assign]
        self.source = self.pods  # type: ignore[assignment]
        super().start_agent()

    def cycle(self, count: int = 1, every: int = 10_000) -> None:
        for _ in range(count):
            self.tell(every)
            super().cycle(1, every)
            if self.said is not None:
                self.said = Snapshot(self.said.pods)

    def tell(self, ahead: int = 0) -> None:
        """Let what can be asked say how things are, some milliseconds from now."""
        self.node.now = self.clock.boot + ahead
        if self.kubelet:
            self.pods._listings.append(self.node.listing())
        if self.api:
            gone = tuple(Gone(pod.read(), self.node.now, told=True) for pod in self.left)
            self.said = Snapshot({pod.uid: pod.read() for pod in self.node.pods}, gone)
            self.left = []

    def run(self, device: str = "", session: str = "") -> HandPod:
        """Start a session now, to the second."""
        session = session or str(uuid4())
        kind = "gpu" if device else "cpu"
        pod = HandPod(f"session-{session}", metadata=marks(session, "t4", kind))
        pod.containers[0] = Container(began=self.clock.boot // 1000 * 1000)
        self.node.pods.append(pod)
        if device:
            self.node.hold(pod, "notebook", T4, device)
        return pod

    def over(self, pod: HandPod) -> None:
        """A session ends by itself now, to the second."""
        pod.containers[0].ended = self.clock.boot // 1000 * 1000
        pod.phase = "Succeeded"

    def remove(self, pod: HandPod) -> None:
        self.node.pods.remove(pod)
        self.left.append(pod)


def name(pod: HandPod) -> str:
    return str(pod.metadata["labels"]["arcetri.dev/session"])


def length(pod: HandPod) -> int:
    (container,) = pod.containers
    assert container.began is not None
    assert container.ended is not None
    return container.ended - container.began


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PodWorld]:
    made = PodWorld(tmp_path)
    yield made
    made.close()


def test_a_session_is_allocated_used_and_occupied_and_knows_its_devices_model(
    world: PodWorld,
) -> None:
    world.sampler.add("GPU-0")
    world.cycle(2)
    pod = world.run("GPU-0")
    world.cycle(40)
    world.over(pod)
    world.cycle(2)
    segments = world.segments(name(pod))
    assert total(segments) == total(segments, "occupied_ms") == length(pod) == 400_000
    assert total(segments, "used_u") == 10_080 * length(pod)
    (allocation,) = {world.allocations[one.allocation].model for one in segments}
    assert allocation == "NVIDIA T4"
    assert world.gaps() == []


@pytest.mark.parametrize("away", [("api",), ("kubelet", "api")])
def test_while_one_of_the_two_is_away_nothing_is_counted_that_may_be_over(
    world: PodWorld, away: tuple[str, ...]
) -> None:
    """The kubelet's silence is also the API server's: what that knows, it has from there."""
    world.sampler.add("GPU-0")
    world.cycle(2)
    pod = world.run("GPU-0")
    world.cycle(3)
    for one in away:
        setattr(world, one, False)
    world.clock.tick(2_000)
    world.over(pod)
    began = pod.containers[0].began
    assert began is not None
    world.cycle(60)
    # Long after its end it still runs, for all that is known: not a second of that is final.
    (running,) = world.running(name(pod))
    assert total(world.segments(name(pod))) + running.dur_ms <= length(pod)
    world.kubelet = world.api = True
    world.cycle(2)
    assert total(world.segments(name(pod))) == length(pod)


def test_a_long_absence_of_the_api_server_stops_no_count_of_what_the_kubelet_has(
    world: PodWorld,
) -> None:
    world.sampler.add("GPU-0")
    world.cycle(2)
    pod = world.run("GPU-0")
    world.cycle(3)
    world.api = False
    world.cycle(120)
    counted = total(world.segments(name(pod))) + total(world.running(name(pod)))
    assert counted >= 1_200_000 - 10_000
    assert total(world.segments(name(pod)), "unobserved_ms") == 0
    world.over(pod)
    world.api = True
    world.cycle(2)
    assert total(world.segments(name(pod))) == length(pod)


def test_a_record_that_cannot_be_written_ends_nothing_and_loses_nothing(
    world: PodWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.cycle(2)
    pod = world.run("GPU-0")
    with monkeypatch.context() as patch:
        patch.setattr(
            "arcetri_accounting.agent.pods.record.os.fsync",
            lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")),
        )
        world.cycle(3)
        assert world.figures.source_errors >= 1
        assert world.running(name(pod)) == []
        with pytest.raises(SourceError, match="No space left"):
            world.pods.poll(0)
    world.over(pod)
    world.cycle(2)
    assert total(world.segments(name(pod))) == length(pod)
    assert [one.name for one in world.folder.glob("*.new")] == []


def test_a_record_that_is_damaged_is_kept_aside_and_said(world: PodWorld) -> None:
    world.cycle(2)
    pod = world.run("GPU-0")
    world.cycle(6)
    counted = world.running(name(pod))[0].dur_ms
    world.kill_agent()
    world.record.write_bytes(b'{"v": 1, "born"')
    world.start_agent()
    world.cycle(2)
    assert "journal_damaged" in world.gaps()
    assert len(list(world.folder.glob("spool.db.pods.damaged-*"))) == 1
    # What ran goes on, and is counted once.
    assert world.running(name(pod))[0].dur_ms > counted
    world.over(pod)
    world.cycle(2)
    assert total(world.segments(name(pod))) == length(pod)


def test_a_record_that_is_gone_counts_nothing_twice(world: PodWorld) -> None:
    world.cycle(2)
    over, runs = world.run("GPU-0"), world.run("GPU-1")
    world.cycle(6)
    world.over(over)
    world.cycle(2)
    world.kill_agent()
    world.record.unlink()
    world.start_agent()
    world.cycle(2)
    assert total(world.segments(name(over))) == length(over)
    world.over(runs)
    world.cycle(2)
    assert total(world.segments(name(runs))) == length(runs)


def test_a_spool_that_is_gone_is_said_and_the_rest_is_counted_from_there(world: PodWorld) -> None:
    world.cycle(2)
    pod = world.run("GPU-0")
    world.cycle(6)
    world.kill_agent()
    world.path.unlink()
    delivered, born = total(world.segments(name(pod))), world.clock.boot
    world.start_agent()
    world.cycle(2)
    assert "spool_lost" in world.gaps()
    world.over(pod)
    world.cycle(2)
    rest = (pod.containers[0].ended or 0) - born
    assert total(world.segments(name(pod))) == delivered + rest


@pytest.mark.parametrize("seed", range(8))
def test_killed_at_any_moment_it_counts_every_session_once_and_whole(
    world: PodWorld, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - the same at each run
    devices = [f"GPU-{number}" for number in range(4)]
    for device in devices:
        world.sampler.add(device)
    world.cycle(2)
    running: dict[str, HandPod] = {}
    ended: list[HandPod] = []
    for _ in range(100):
        device = chance.choice([*devices, ""])
        match chance.randrange(9):
            case 0 | 1 if device not in running:
                running[device] = world.run(device)
            case 2 if device in running:
                world.over(running[device])
                ended.append(running.pop(device))
            case 3 if ended:
                # Long after, or at once: its pod goes.
                pod = chance.choice(ended)
                if pod in world.node.pods and world.api:
                    world.tell()
                    world.cycle(1, 1000)
                    world.remove(pod)
            case 4:
                world.kubelet = not world.kubelet
            case 5:
                world.api = not world.api
            case 6:
                world.restart()
            case 7:
                world.cycle(chance.randrange(40))
            case 8:
                world.cycle(1, chance.randrange(100, 9_000))
        world.clock.tick(chance.randrange(3_000))
    world.kubelet = world.api = True
    world.cycle(2)
    for pod in running.values():
        world.over(pod)
    world.cycle(3)
    for pod in [*ended, *running.values()]:
        assert total(world.segments(name(pod))) == length(pod), name(pod)
    world.restart()
    world.cycle(3)
    for pod in [*ended, *running.values()]:
        assert total(world.segments(name(pod))) == length(pod), name(pod)
