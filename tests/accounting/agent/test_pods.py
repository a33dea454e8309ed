"""What becomes of a kubelet's list and an API server's pods: starts and ends, each once."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from uuid import uuid4

import pytest

from arcetri_accounting.agent.allocations import Ended, Started
from arcetri_accounting.agent.describing import described
from arcetri_accounting.agent.pods.devices import Assigned, Listing, PodEntry
from arcetri_accounting.agent.presence import Known, Presences
from arcetri_accounting.agent.readings import Device
from arcetri_accounting.contract.podmarks import OUTSIDE
from tests.accounting.agent.pods import (
    FPGA,
    SLICE,
    T4,
    WALL,
    Container,
    HandPod,
    Node,
    marks,
)

S = str(uuid4())


def session(**options: object) -> HandPod:
    return HandPod(metadata=marks(S), **options)  # type: ignore[arg-type]


def test_a_session_is_counted_from_its_containers_start_to_its_end() -> None:
    node = Node()
    pod = session()
    node.pods.append(pod)
    node.hold(pod, "notebook", T4, "GPU-0")
    assert node.look() == []
    pod.containers[0].began = 101_000
    node.now = 104_000
    (started,) = node.look()
    assert isinstance(started, Started)
    assert (started.boot, started.wall, started.username) == (101_000, WALL + 101_000, "alice")
    (one,) = started.allocations
    assert (one.session, one.device, one.share) == (S, "GPU-0", Fraction(1))
    assert (one.account, one.group, one.flavor) == ("6470c6b8", "/ai_infn/cms", "t4")
    assert (one.millicores, one.memory, one.shared) == (2000, 2**33, False)
    assert node.look() == []
    pod.containers[0].ended = 161_000
    pod.phase = "Succeeded"
    node.now = 170_000
    (ended,) = node.look()
    assert ended == Ended(2, S, WALL + 161_000, 161_000, "boot1", False, ("GPU-0",))
    node.pods.clear()
    assert node.look(pod) == []


def test_a_session_shorter_than_a_look_is_counted_whole() -> None:
    node = Node()
    pod = session()
    pod.containers[0].began = 101_000
    node.pods.append(pod)
    node.hold(pod, "notebook", T4, "GPU-0")
    node.now = 102_000
    seen = node.listing()
    pod.containers[0].ended = 104_000
    pod.phase = "Succeeded"
    node.pods.clear()
    node.now = 110_000
    node.joiner.hear(seen)
    started, ended = node.look(pod)
    assert isinstance(started, Started)
    assert started.allocations[0].device == "GPU-0"
    assert ended.boot - started.boot == 3_000


def test_a_session_that_the_kubelet_never_listed_is_counted_without_its_device() -> None:
    node = Node()
    pod = session(phase="Failed")
    pod.containers[0] = Container(began=101_000, ended=102_000)
    node.pods.append(pod)
    node.now = 103_000
    started, ended = node.look(kubelet=False)
    assert isinstance(started, Started)
    (one,) = started.allocations
    assert (one.device, one.flavor_type, one.share) == ("", "gpu", Fraction(1))
    assert ended.boot == 102_000


def test_while_the_kubelet_is_silent_a_session_waits_for_its_device() -> None:
    node = Node()
    pod = session()
    pod.containers[0].began = 101_000
    node.pods.append(pod)
    node.hold(pod, "notebook", SLICE, "MIG-0")
    node.now = 110_000
    assert node.look(kubelet=False) == []
    (started,) = node.look()
    assert isinstance(started, Started)
    assert (started.boot, started.allocations[0].device) == (101_000, "MIG-0")


def test_a_session_without_accelerator_is_counted_by_its_cores() -> None:
    node = Node()
    pod = HandPod(metadata=marks(S, "cpu", "cpu"))
    pod.containers[0].began = 101_000
    node.pods.append(pod)
    (started,) = node.look(kubelet=False)
    assert isinstance(started, Started)
    (one,) = started.allocations
    assert (one.device, one.flavor_type, one.millicores) == ("", "cpu", 2000)


def test_an_fpga_is_named_with_its_node_since_its_id_names_it_there_alone() -> None:
    node = Node()
    pod = HandPod(metadata=marks(S, "v70", "fpga"))
    pod.containers[0].began = 101_000
    node.pods.append(pod)
    node.hold(pod, "notebook", FPGA, "0000:c1:00.1")
    node.now = 102_000
    (started,) = node.look()
    assert isinstance(started, Started)
    assert started.allocations[0].device == "n1/0000:c1:00.1"
    assert started.allocations[0].flavor_type == "fpga"


@pytest.mark.parametrize(
    ("held", "share"), [(("GPU-0::2",), "1/4"), (("GPU-0::1", "GPU-0::3"), "1/2")]
)
def test_replicas_of_a_device_are_their_part_of_it_and_shared(
    held: tuple[str, ...], share: str
) -> None:
    node = Node(devices=[f"GPU-0::{number}" for number in range(4)] + ["GPU-1"])
    pod = session()
    pod.containers[0].began = 101_000
    node.pods.append(pod)
    node.hold(pod, "notebook", "nvidia.com/gpu.shared", *held)
    node.now = 102_000
    (started,) = node.look()
    assert isinstance(started, Started)
    (one,) = started.allocations
    assert (one.device, one.share, one.shared) == ("GPU-0", Fraction(share), True)


def test_of_replicas_that_cannot_be_counted_the_grants_share_is_billed() -> None:
    node = Node()
    pod = HandPod(metadata=marks(S, share="1/8"))
    pod.containers[0].began = 101_000
    node.pods.append(pod)
    node.hold(pod, "notebook", "nvidia.com/gpu.shared", "GPU-0::2")
    node.now = 102_000
    (started,) = node.look()
    assert isinstance(started, Started)
    assert (started.allocations[0].share, started.allocations[0].shared) == (Fraction(1, 8), True)


def test_each_container_is_counted_by_its_own_life() -> None:
    node = Node()
    side, beside = Container("side", 103_000), Container("beside", 100_000, init=True)
    pod = session(containers=[Container(began=101_000), side, beside])
    node.pods.append(pod)
    node.hold(pod, "notebook", T4, "GPU-0")
    node.hold(pod, "side", T4, "GPU-1")
    node.hold(pod, "beside", SLICE, "MIG-0")
    node.hold(pod, "side", "smarter-devices/fuse", "fuse-1")
    node.now = 104_000
    found = [one for one in node.look() if isinstance(one, Started)]
    assert {one.allocations[0].device: one.boot for one in found} == {
        "GPU-0": 101_000,
        "GPU-1": 103_000,
        "MIG-0": 100_000,
    }
    # Cores are the session's, and counted once.
    assert sum(one.allocations[0].millicores for one in found) == 2000
    side.ended = 120_000
    node.now = 121_000
    (ended,) = node.look()
    assert (ended.boot, ended.devices) == (120_000, ("GPU-1",))  # type: ignore[union-attr]
    pod.containers[0].ended = beside.ended = 130_000
    pod.phase = "Succeeded"
    node.now = 131_000
    assert {one.devices for one in node.look()} == {("GPU-0",), ("MIG-0",)}  # type: ignore[union-attr]


def test_a_container_that_is_started_again_holds_its_device_all_the_time() -> None:
    node = Node()
    pod = session(policy="OnFailure")
    pod.containers[0] = Container(began=101_000, ended=103_000, exit_code=1)
    node.pods.append(pod)
    node.hold(pod, "notebook", T4, "GPU-0")
    node.now = 104_000
    (started,) = node.look()
    assert started.boot == 101_000
    pod.containers[0] = Container(began=105_000, before=(101_000, 103_000))
    node.now = 106_000
    assert node.look() == []
    pod.containers[0] = Container(began=105_000, ended=107_000)
    node.now = 108_000
    (ended,) = node.look()
    assert ended.boot == 107_000


def test_another_pod_of_the_same_name_is_another() -> None:
    node = Node()
    first = session()
    first.containers[0].began = 101_000
    node.pods.append(first)
    node.hold(first, "notebook", T4, "GPU-0")
    node.now = 102_000
    node.look()
    last = node.listing()
    second = HandPod(metadata=marks(str(uuid4())))
    second.containers[0].began = 111_000
    node.pods[:] = [second]
    node.held[second.namespace, second.name, "notebook"] = [(T4, "GPU-1")]
    node.now = 112_000
    # The kubelet has not said anything since: what it said was of the first one.
    (ended,) = node.look(first, listing=last)
    assert isinstance(ended, Ended)
    assert ended.session == S
    (started,) = node.look()
    assert isinstance(started, Started)
    assert (started.session, started.allocations[0].device) == (
        second.metadata["labels"]["arcetri.dev/session"],
        "GPU-1",
    )


def test_a_pod_taken_away_by_force_holds_its_device_until_the_kubelet_lets_it_go() -> None:
    node = Node()
    pod = session()
    pod.containers[0].began = 101_000
    node.pods.append(pod)
    node.hold(pod, "notebook", T4, "GPU-0")
    node.now = 110_000
    node.look()
    still = node.listing()
    node.pods.clear()
    assert node.look(pod, listing=still) == []
    node.now = 115_000
    (ended,) = node.look()
    assert ended == Ended(2, S, WALL + 110_000, 110_000, "boot1", False, ("GPU-0",))


def test_what_ended_while_nobody_looked_is_said_to_be_found_late() -> None:
    node = Node()
    pod = session()
    pod.containers[0].began = 101_000
    node.pods.append(pod)
    node.hold(pod, "notebook", T4, "GPU-0")
    node.now = 102_000
    node.look()
    # Another process: only what was kept is known.
    tracks = node.joiner.tracks
    tracks[0].seen = -1
    node.joiner = node.fresh()
    node.joiner.tracks, node.joiner.seq = tracks, 1
    node.pods.clear()
    node.now = 200_000
    (ended,) = node.look()
    assert isinstance(ended, Ended)
    assert (ended.estimated, ended.boot) == (True, 200_000)


def test_after_a_restart_nothing_is_told_twice() -> None:
    node = Node()
    running, over = session(), HandPod("over", metadata=marks(str(uuid4())))
    running.containers[0].began = 101_000
    over.containers[0] = Container(began=101_000, ended=105_000)
    over.phase = "Succeeded"
    node.pods += [running, over]
    node.hold(running, "notebook", T4, "GPU-0")
    node.now = 110_000
    assert len(node.look()) == 3
    tracks = node.joiner.tracks
    node.joiner = node.fresh()
    node.joiner.tracks, node.joiner.seq = tracks, 3
    assert node.look() == []
    assert not node.joiner.forget(3, [running.uid, over.uid])
    assert node.joiner.forget(3, [running.uid])
    assert [one.uid for one in node.joiner.tracks] == [running.uid]


def test_a_reboot_ends_what_was_held_and_a_container_started_again_is_new() -> None:
    node = Node()
    pod = session(policy="Always")
    pod.containers[0].began = 101_000
    node.pods.append(pod)
    node.hold(pod, "notebook", T4, "GPU-0")
    node.now = 102_000
    node.look()
    tracks = node.joiner.tracks
    node.boot_id = "boot2"
    node.joiner = node.fresh()
    node.joiner.tracks, node.joiner.seq = tracks, 1
    pod.containers[0] = Container(began=201_000, before=(101_000, 150_000))
    node.now = 202_000
    ended, started = node.look()
    assert isinstance(ended, Ended)
    assert isinstance(started, Started)
    assert (ended.boot_id, ended.estimated) == ("boot2", True)
    assert started.boot_id == "boot2"


def test_a_pod_of_others_that_holds_a_device_is_counted_as_outside() -> None:
    node = Node()
    system = HandPod("exporter", "monitoring", containers=[Container("main", 101_000)])
    plain = HandPod("plain", "default", containers=[Container("main", 101_000)])
    forged = HandPod("forged", "default", metadata=marks(S))
    forged.containers[0].began = 101_000
    node.pods += [system, plain, forged]
    node.hold(system, "main", SLICE, "MIG-0")
    node.hold(forged, "notebook", T4, "GPU-0")
    node.now = 102_000
    found = {one.session: one for one in node.look() if isinstance(one, Started)}
    assert found.keys() == {system.uid, forged.uid}
    one = found[system.uid].allocations[0]
    assert (one.group, one.account, one.share) == (OUTSIDE, "outside:monitoring", Fraction(1, 7))
    # What a pod elsewhere says of itself charges nobody.
    assert found[forged.uid].allocations[0].account == "outside:default"


def test_sessions_of_another_platform_are_outside_where_one_is_named() -> None:
    node = Node(instance="here")
    other = HandPod(metadata=marks(S, instance="there"))
    other.containers[0].began = 101_000
    node.pods.append(other)
    node.hold(other, "notebook", T4, "GPU-0")
    node.now = 102_000
    (started,) = node.look()
    assert isinstance(started, Started)
    assert started.allocations[0].group == OUTSIDE


@pytest.mark.parametrize(
    "spoil",
    [
        {"arcetri.dev/share": "1/0"},
        {"arcetri.dev/share": "1/11"},
        {"arcetri.dev/account": ""},
        {"arcetri.dev/flavor-type": "tpu"},
        {"arcetri.dev/cpu": "inf"},
        {"arcetri.dev/memory": "much"},
    ],
)
def test_a_session_whose_marks_cannot_be_is_still_counted(spoil: dict[str, str]) -> None:
    node = Node()
    pod = session()
    pod.metadata["annotations"] |= spoil
    pod.containers[0].began = 101_000
    node.pods.append(pod)
    node.hold(pod, "notebook", T4, "GPU-0")
    node.now = 102_000
    (started,) = node.look()
    assert isinstance(started, Started)
    assert started.allocations[0].group == OUTSIDE


def test_nothing_is_counted_from_before_the_record_was_born() -> None:
    node = Node(born=WALL + 105_000)
    pod, old = session(), HandPod("old", metadata=marks(str(uuid4())))
    pod.containers[0].began = 101_000
    old.containers[0] = Container(began=101_000, ended=104_000)
    old.phase = "Succeeded"
    node.pods += [pod, old]
    node.hold(pod, "notebook", T4, "GPU-0")
    node.now = 110_000
    (started,) = node.look()
    assert started.boot == 105_000


def test_a_stale_word_of_either_ends_nothing() -> None:
    node = Node()
    pod = session()
    pod.containers[0].began = 101_000
    node.pods.append(pod)
    node.hold(pod, "notebook", T4, "GPU-0")
    node.now = 102_000
    node.look()
    # A kubelet that has just started lists nothing yet; the API server still has the pod.
    pods, node.pods = node.pods, []
    empty = node.listing()
    node.pods = pods
    node.now = 103_000
    assert node.look(listing=empty) == []
    # And one that is away says nothing.
    node.now = 500_000
    assert node.look(kubelet=False) == []


def test_a_slice_outside_weighs_what_nvml_says_where_it_knows_it() -> None:
    node = Node()
    pod = HandPod("others", "default", containers=[Container("main", 101_000)])
    node.pods.append(pod)
    node.hold(pod, "main", SLICE, "MIG-0")
    node.now = 102_000
    (started,) = node.look()
    assert isinstance(started, Started)
    known = Known(Device("MIG-0", "NVIDIA A30 MIG 1g.6gb", "GPU-0", "1g.6gb", 2_520))
    (one,) = described(started, Presences(25_000, {"MIG-0": known})).allocations
    assert (one.share, one.model) == (Fraction(1, 4), "NVIDIA A30 MIG 1g.6gb")
    assert described(started, Presences(25_000)) == started


def test_what_a_session_was_granted_is_its_share_whatever_the_slice_weighs() -> None:
    node = Node()
    pod = HandPod(metadata=marks(S, "a30-1g", share="1/7"))
    pod.containers[0].began = 101_000
    node.pods.append(pod)
    node.hold(pod, "notebook", SLICE, "MIG-0")
    node.now = 102_000
    (started,) = node.look()
    assert isinstance(started, Started)
    known = Known(Device("MIG-0", "NVIDIA A30 MIG 1g.6gb", "GPU-0", "1g.6gb", 2_520))
    (one,) = described(started, Presences(25_000, {"MIG-0": known})).allocations
    assert (one.share, one.model) == (Fraction(1, 7), "NVIDIA A30 MIG 1g.6gb")


def test_while_a_pod_of_the_same_name_still_goes_its_device_is_not_the_others() -> None:
    node = Node()
    first = session()
    first.containers[0].began = 101_000
    node.pods.append(first)
    node.hold(first, "notebook", T4, "GPU-0")
    node.now = 102_000
    node.look()
    second = HandPod(metadata=marks(str(uuid4())))
    second.containers[0].began = 111_000
    node.pods[:] = [second]
    node.now = 112_000
    entries = [
        PodEntry(first.namespace, first.name, {"notebook": (Assigned(T4, (device,)),)})
        for device in ("GPU-0", "GPU-1")
    ]
    found = node.look(first, listing=Listing(node.now, tuple(entries)))
    begun = [one for one in found if isinstance(one, Started)]
    assert [one.allocations[0].device for one in begun] == ["GPU-1"]


def followed(*devices: str) -> Listing:
    """What the kubelet says while pods of one name follow each other."""
    one = session()
    return Listing(
        0,
        tuple(
            PodEntry(one.namespace, one.name, {"notebook": (Assigned(T4, (device,)),)})
            for device in devices
        ),
    )


def test_a_pod_that_goes_is_not_charged_for_the_device_of_the_next_of_its_name() -> None:
    node = Node()
    first = session()
    first.containers[0].began = 101_000
    node.pods.append(first)
    node.hold(first, "notebook", T4, "GPU-0")
    node.now = 102_000
    node.look()
    second = HandPod(metadata=marks(str(uuid4())))
    node.pods[:] = [second]
    node.now = 104_000
    # The next one is admitted already, and its container has not begun.
    listing = replace(followed("GPU-0", "GPU-1"), at=node.now)
    (ended,) = node.look(first, listing=listing)
    assert isinstance(ended, Ended)
    second.containers[0].began = 104_000
    (started,) = node.look(listing=listing)
    assert isinstance(started, Started)
    assert started.session == second.metadata["labels"]["arcetri.dev/session"]
    assert started.allocations[0].device == "GPU-1"


def test_two_pods_of_a_name_between_two_looks_have_each_its_own_device() -> None:
    node = Node(now=102_000)
    first = session()
    first.containers[0].began = 101_000
    second = HandPod(metadata=marks(str(uuid4())))
    second.containers[0].began = 104_000
    node.pods[:] = [second]
    node.joiner.hear(replace(followed("GPU-1"), at=103_000))
    node.now = 105_000
    found = node.look(first, listing=replace(followed("GPU-0", "GPU-1"), at=104_500))
    begun = {one.session: one.allocations[0].device for one in found if isinstance(one, Started)}
    assert begun == {S: "GPU-1", second.metadata["labels"]["arcetri.dev/session"]: "GPU-0"}
