"""The sampler over the real client of NVML, on a library that does as a script says."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.accounting.agent.glancer import Glancer
from tests.support.nvml import BURSTS, RANDOM, STEADY, FakeMachine, Load, remove

pytestmark = pytest.mark.component


@pytest.fixture(scope="module", autouse=True)
def _library() -> Iterator[None]:
    yield
    remove()


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path / "machine")


@pytest.fixture
def glancer(machine: FakeMachine) -> Iterator[Glancer]:
    made = Glancer(machine.environment(), 10_000)
    yield made
    made.close()


def generations(found: dict[str, Any]) -> dict[str, bool]:
    return {uuid: uuid in found["remade"] for uuid in found["readings"]}


MIG = """
gpu GPU-0 mig NVIDIA A100-SXM4-40GB
energy 1000 100000
{0}
mig MIG-0 1g.5gb {1}
mig MIG-1 3g.20gb
"""


def test_a_whole_gpu(machine: FakeMachine, glancer: Glancer) -> None:
    machine.has("gpu GPU-0 nomig Tesla T4\nutil steady 40\nprocess 7 1000\nprocess 8 500")
    first = glancer.until(lambda found: bool(found["readings"]))
    time.sleep(0.5)
    second = glancer.look()

    reading = second["readings"]["GPU-0"]
    assert (reading["device"]["model"], reading["device"]["weight"]) == ("Tesla T4", 10_080)
    assert (reading["occupied"], reading["memory"], reading["energy"]) == (True, 1500, None)
    assert reading["seen_from"] == first["readings"]["GPU-0"]["at"]
    assert {value for _, _, value in reading["busy"]} == {4000}
    # From sample to sample, across the looks.
    assert reading["busy"][0][0] == first["readings"]["GPU-0"]["busy"][-1][1]


@pytest.mark.parametrize("load", [STEADY, BURSTS, RANDOM], ids=["steady", "bursts", "random"])
def test_the_buffer_holds_what_is_true(machine: FakeMachine, glancer: Glancer, load: Load) -> None:
    machine.has(f"gpu GPU-0 nomig Tesla T4\n{load.line}")
    found = glancer.until(lambda found: bool(found["readings"]))

    # The first look reaches back over the driver's whole buffer, twenty seconds.
    spans = found["readings"]["GPU-0"]["busy"]
    begin, end = spans[0][0], spans[-1][1]
    assert end - begin > 19_000
    counted = sum((b - a) * value for a, b, value in spans) / 100
    # Samples are whole percents: each is off by a half at most.
    assert abs(counted - load.busy(begin, end)) <= (end - begin) / 2


def test_without_a_buffer_what_is_read_holds_since_the_look_before(
    machine: FakeMachine, glancer: Glancer
) -> None:
    machine.has("gpu GPU-0 nomig Tesla T4\nbuffer 167 0\nutil steady 40")
    first = glancer.until(lambda found: bool(found["readings"]))["readings"]["GPU-0"]
    time.sleep(0.3)
    second = glancer.look()["readings"]["GPU-0"]

    assert first["busy"] == []
    assert [value for _, _, value in second["busy"]] == [4000]
    assert abs(second["busy"][0][0] - first["at"]) < 100


def test_energy_is_a_difference_and_a_reset_is_unknown(
    machine: FakeMachine, glancer: Glancer
) -> None:
    machine.has("gpu GPU-0 nomig Tesla T4\nenergy 500000 100000")
    glancer.until(lambda found: bool(found["readings"]))
    time.sleep(0.3)
    begin, end, energy = glancer.look()["readings"]["GPU-0"]["energy"]
    assert abs(energy - (end - begin) * 100) <= 100 * 20
    machine.has("gpu GPU-0 nomig Tesla T4\nenergy 10 100000")
    time.sleep(0.1)

    assert glancer.look()["readings"]["GPU-0"]["energy"] is None
    time.sleep(0.1)
    assert glancer.look()["readings"]["GPU-0"]["energy"][2] > 0


def test_instances_have_weights_and_share_energy_but_no_use(
    machine: FakeMachine, glancer: Glancer
) -> None:
    machine.has(MIG.format("", "") + "process 9 4000")
    glancer.until(lambda found: "MIG-1" in found["readings"])
    time.sleep(0.2)
    found = glancer.look()

    weights = {uuid: one["device"]["weight"] for uuid, one in found["readings"].items()}
    assert weights == {"GPU-0": 0, "MIG-0": 1440, "MIG-1": 4320}
    small, large = found["readings"]["MIG-0"], found["readings"]["MIG-1"]
    whole = found["readings"]["GPU-0"]
    assert (whole["seen_from"], whole["memory"], whole["energy"]) == (None, None, None)
    assert (small["busy"], large["busy"]) == ([], [])
    assert (small["occupied"], large["occupied"], large["memory"]) == (False, True, 4000)
    assert small["energy_method"] == "split"
    begin, end, part = small["energy"]
    assert large["energy"][:2] == [begin, end]
    assert abs(part + large["energy"][2] - (end - begin) * 100) <= 100 * 20
    assert abs(large["energy"][2] - 3 * part) <= 3


def test_an_a30_is_shared_in_quarters(machine: FakeMachine, glancer: Glancer) -> None:
    machine.has("gpu GPU-0 mig NVIDIA A30\nmig MIG-0 1g.6gb\nmig MIG-1 2g.12gb")
    found = glancer.until(lambda found: "MIG-1" in found["readings"])

    weights = {uuid: one["device"]["weight"] for uuid, one in found["readings"].items()}
    assert weights == {"GPU-0": 0, "MIG-0": 2520, "MIG-1": 5040}


def test_instances_of_a_gpu_with_gpm_have_use(machine: FakeMachine, glancer: Glancer) -> None:
    machine.has("gpu GPU-0 mig NVIDIA H100\ngpm\nmig MIG-0 1g.10gb\nutil steady 62")
    glancer.until(lambda found: "MIG-0" in found["readings"])
    time.sleep(0.3)
    (span,) = glancer.look()["readings"]["MIG-0"]["busy"]

    assert span[2] == 6200
    assert span[1] - span[0] >= 300


@pytest.mark.parametrize("events", ["", "noevents"])
def test_instances_that_change_are_seen(
    machine: FakeMachine, glancer: Glancer, events: str
) -> None:
    machine.has(MIG.format(events, ""))
    glancer.until(lambda found: "MIG-1" in found["readings"])
    machine.has(MIG.format(events, "").replace("MIG-1 3g.20gb", "MIG-2 2g.10gb"))
    time.sleep(0.1)

    found = glancer.until(lambda found: "MIG-2" in found["readings"])

    assert found["present"] == ["GPU-0", "MIG-0", "MIG-2"]


def test_an_instance_made_anew_between_two_looks_is_told_by_the_driver(
    machine: FakeMachine, glancer: Glancer
) -> None:
    machine.has(MIG.format("", ""))
    glancer.until(lambda found: "MIG-1" in found["readings"])
    assert set(generations(glancer.look()).values()) == {False}
    machine.has(MIG.format("", "life=2"))
    time.sleep(0.1)

    found = glancer.look()

    assert generations(found)["MIG-0"]
    assert set(generations(glancer.look()).values()) == {False}


def test_a_gpu_that_falls_off_is_down_and_then_is_back(
    machine: FakeMachine, glancer: Glancer
) -> None:
    script = "gpu GPU-0 nomig Tesla T4\ngpu GPU-1 nomig Tesla T4\n"
    machine.has(script)
    glancer.until(lambda found: len(found["readings"]) == 2)
    machine.has(script + "fault * 15 GPU-1")
    time.sleep(0.1)
    found = glancer.look()
    assert {uuid: one["down"] for uuid, one in found["readings"].items()} == {
        "GPU-0": False,
        "GPU-1": True,
    }
    assert found["present"] == ["GPU-0", "GPU-1"]
    machine.has(script)
    time.sleep(0.1)

    found = glancer.look()

    assert not found["readings"]["GPU-1"]["down"]
    assert "GPU-1" in found["readings"]


def test_a_driver_loaded_anew_is_initialised_and_its_devices_are_others(
    machine: FakeMachine, glancer: Glancer
) -> None:
    script = "gpu GPU-0 nomig Tesla T4\n"
    machine.has("driver 1\n" + script)
    glancer.until(lambda found: bool(found["readings"]))
    machine.has("driver 2\n" + script)
    time.sleep(0.1)

    found = glancer.until(lambda found: bool(found["readings"]))

    assert generations(found) == {"GPU-0": True}
    assert generations(glancer.look()) == {"GPU-0": False}


def test_without_a_driver_nothing_is_there(machine: FakeMachine, glancer: Glancer) -> None:
    machine.has("fault nvmlInitWithFlags 9")
    found = glancer.look()
    assert (found["available"], found["present"], found["readings"]) == (False, [], {})
    machine.has("gpu GPU-0 nomig Tesla T4")

    assert glancer.until(lambda found: bool(found["readings"]))["available"]


def test_a_driver_that_fails_is_not_a_machine_without_gpu(
    machine: FakeMachine, glancer: Glancer
) -> None:
    machine.has("fault nvmlInitWithFlags 999")
    found = glancer.look()

    assert (found["available"], found["present"]) == (False, None)
    assert found["errors"] >= 1


def test_one_that_hangs_holds_up_no_other(machine: FakeMachine, glancer: Glancer) -> None:
    gpus = "".join(f"gpu GPU-{i} nomig Tesla T4\nutil steady 30\n" for i in range(8))
    machine.has(gpus)
    glancer.until(lambda found: len(found["readings"]) == 8)
    machine.has(gpus + "hang nvmlDeviceGetComputeRunningProcesses_v3 3 GPU-3")
    time.sleep(0.1)
    began = time.monotonic()
    looks = []
    while time.monotonic() - began < 2:
        looks.append(glancer.look())
        time.sleep(0.1)

    assert len(looks) >= 5
    for found in looks:
        assert set(found["readings"]) == {f"GPU-{i}" for i in range(8)} - {"GPU-3"}
        assert found["silent"] == 1
        assert len(found["present"]) == 8
    machine.has(gpus)
    spans: list[tuple[int, int, int]] = []

    def caught_up(found: dict[str, Any]) -> bool:
        spans.extend(found["readings"].get("GPU-3", {"busy": []})["busy"])
        return bool(spans) and spans[-1][1] - spans[0][0] >= 2_000

    glancer.until(caught_up)
    # What the driver had kept meanwhile is not lost, and has no hole.
    assert {value for _, _, value in spans} == {3000}
    assert all(before[1] == after[0] for before, after in pairwise(spans))


SLICES = "".join(
    f"gpu GPU-{gpu} mig NVIDIA A100\nenergy 1000 70000\n"
    + "".join(f"mig MIG-{gpu}-{i} 1g.5gb{{{gpu}{i}}}\nprocess {i + 1} 5\n" for i in range(7))
    for gpu in range(2)
)
"""Two GPUs of seven instances, each with a place for what else is said of it."""


def slices(**more: str) -> str:
    places = {f"{gpu}{i}": "" for gpu in range(2) for i in range(7)}
    return re.sub(r"\{(\d\d)\}", lambda found: (places | more)[found[1]], SLICES)


NAMES = {f"MIG-{gpu}-{i}" for gpu in range(2) for i in range(7)}


def test_an_instance_that_hangs_holds_up_none_of_its_siblings(
    machine: FakeMachine, glancer: Glancer
) -> None:
    energy: dict[str, list[tuple[int, int, int]]] = {name: [] for name in NAMES}

    def look() -> dict[str, Any]:
        found = glancer.look()
        for reading in found["told"]:
            if reading["energy"]:
                energy[reading["device"]["uuid"]].append(reading["energy"])
        return found

    machine.has(slices())
    glancer.until(lambda found: found["readings"].keys() >= NAMES)
    look()
    machine.has(slices() + "hang nvmlDeviceGetComputeRunningProcesses_v3 3 MIG-1-2")
    time.sleep(0.1)
    began = time.monotonic()
    looks = []
    while time.monotonic() - began < 2.5:
        looks.append(look())
        time.sleep(0.1)
    threads = len(list(Path(f"/proc/{glancer.process.pid}/task").iterdir()))
    machine.has(slices())
    deadline = time.monotonic() + 20
    while "MIG-1-2" not in (found := look())["readings"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    look()

    assert len(looks) >= 5
    for one in looks:
        assert set(one["readings"]) == {"GPU-0", "GPU-1"} | NAMES - {"MIG-1-2"}
        assert (one["silent"], one["errors"]) == (1, 0)
        assert one["present"] == sorted({"GPU-0", "GPU-1"} | NAMES)
    # Only the one that waits for the first time costs patience, at most twice.
    assert sorted(one["took"] for one in looks)[-2] < 0.2
    assert max(one["took"] for one in looks) < 2 * 0.5 + 0.3
    # The main thread, one that hangs, and those that went on.
    assert threads <= 4
    # Its energy was measured meanwhile, with the GPU's: it is told once it answers.
    for name in ("MIG-1-2", "MIG-1-3"):
        assert all(before[1] == after[0] for before, after in pairwise(energy[name])), name
    assert energy["MIG-1-2"][0][0] == energy["MIG-1-3"][0][0]
    assert energy["MIG-1-2"][-1][1] == energy["MIG-1-3"][-1][1]
    assert abs(sum(e[2] for e in energy["MIG-1-2"]) - sum(e[2] for e in energy["MIG-1-3"])) < 100
    assert found["silent"] == 0


def test_an_instance_made_anew_that_hangs_is_another_once_it_answers(
    machine: FakeMachine, glancer: Glancer
) -> None:
    machine.has(slices())
    glancer.until(lambda found: found["readings"].keys() >= NAMES)
    hang = "hang nvmlDeviceGetComputeRunningProcesses_v3 1 MIG-1-2"
    machine.has(slices(**{"12": " life=2"}) + hang)
    time.sleep(0.1)
    first = glancer.look()
    machine.has(slices(**{"12": " life=2"}))

    assert "MIG-1-2" not in first["readings"]
    assert generations(first)["MIG-1-3"]
    found = glancer.until(lambda found: "MIG-1-2" in found["readings"])
    assert generations(found)["MIG-1-2"]
    assert not generations(found)["MIG-1-3"]
    assert not generations(glancer.look())["MIG-1-2"]


def test_a_gpu_whose_instances_all_hang_is_left_alone(
    machine: FakeMachine, glancer: Glancer
) -> None:
    machine.has(slices())
    glancer.until(lambda found: found["readings"].keys() >= NAMES)
    hang = "hang nvmlDeviceGetComputeRunningProcesses_v3 4"
    machine.has(slices() + "".join(f"{hang} MIG-1-{i}\n" for i in range(7)))
    time.sleep(0.1)

    for _ in range(8):
        found = glancer.look()
        assert {f"MIG-0-{i}" for i in range(7)} <= set(found["readings"])
    assert not any(name.startswith("MIG-1") for name in found["readings"])
    assert found["silent"] == 7
    assert len(list(Path(f"/proc/{glancer.process.pid}/task").iterdir())) <= 7 + 4
    machine.has(slices())
    glancer.until(lambda found: found["readings"].keys() >= NAMES and not found["silent"])


def test_a_driver_is_not_loaded_anew_under_a_thread_that_hangs_in_it(
    machine: FakeMachine, glancer: Glancer
) -> None:
    machine.has("driver 1\n" + slices())
    glancer.until(lambda found: found["readings"].keys() >= NAMES)
    hang = "hang nvmlDeviceGetComputeRunningProcesses_v3 2 MIG-1-2"
    machine.has("driver 1\n" + slices() + hang)
    time.sleep(0.1)
    assert glancer.look()["silent"] == 1
    began = time.monotonic()
    machine.has("driver 2\n" + slices())
    time.sleep(0.1)

    while not (found := glancer.look())["readings"]:
        assert time.monotonic() - began < 20
        assert "nvmlShutdown" not in found["calls"] or not found["silent"]
        time.sleep(0.05)

    assert found["calls"]["nvmlShutdown"] == 1
    assert all(generations(found).values())


def test_a_driver_that_hangs_at_the_start_holds_up_nothing(
    machine: FakeMachine, glancer: Glancer
) -> None:
    machine.has("gpu GPU-0 nomig Tesla T4\nhang nvmlInitWithFlags 600")

    for _ in range(3):
        found = glancer.look()
        assert (found["available"], found["readings"]) == (False, {})
    # A thread that hangs in the driver does not keep the process from ending either.
    glancer.close()


def test_few_calls_a_look(machine: FakeMachine, glancer: Glancer) -> None:
    lines = []
    for gpu in range(8):
        lines += [f"gpu GPU-{gpu} mig NVIDIA A100", "energy 1 100000"]
        lines += [f"mig MIG-{gpu}-{i} 1g.5gb\nprocess {100 + i} 5" for i in range(7)]
    machine.has("\n".join(lines))
    glancer.until(lambda found: len(found["readings"]) == 64)
    before = machine.calls()
    for _ in range(10):
        glancer.look()
    after = machine.calls()

    calls = {name: after[name] - before.get(name, 0) for name in after}
    assert {name: count / 10 for name, count in calls.items() if count} == {
        "nvmlDeviceGetComputeRunningProcesses_v3": 56,
        "nvmlDeviceGetTotalEnergyConsumption": 8,
        "nvmlEventSetWait_v2": 8,
    }
    assert "nvmlDeviceGetPcieThroughput" not in after
