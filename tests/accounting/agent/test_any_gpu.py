"""What the sampler does on every machine with a GPU: the scripted one, and a real one here."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.accounting.agent.glancer import Glancer
from tests.support.gpu import AnyMachine, Plain, RealGpu, ScriptedGpu, ask
from tests.support.nvml import remove
from tests.support.tiers import NoHardware

pytestmark = pytest.mark.component
INTERVAL_MS = 10_000
PATIENCE = 0.5
"""Seconds that a look waits for the driver at this interval."""


@pytest.fixture(scope="module", params=["fake", pytest.param("real", marks=pytest.mark.gpu)])
def machine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AnyMachine]:
    if request.param == "real":
        yield RealGpu()
        return
    yield ScriptedGpu(tmp_path_factory.mktemp("nvml"))
    remove()


@pytest.fixture(scope="module")
def gpus(machine: AnyMachine) -> dict[str, Plain]:
    return ask(machine)


@pytest.fixture
def whole(gpus: dict[str, Plain]) -> str:
    """A GPU that is not in MIG mode."""
    found = [uuid for uuid, gpu in gpus.items() if not gpu.mig]
    if not found:
        raise NoHardware("needs a GPU that is not in MIG mode")
    return found[0]


@pytest.fixture
def glancer(machine: AnyMachine, gpus: dict[str, Plain]) -> Iterator[Glancer]:
    """One that has already seen everything."""
    made = Glancer(machine.environment(), INTERVAL_MS)
    # A driver without persistence powers its GPUs up first.
    made.until(lambda found: gpus.keys() <= found["readings"].keys(), 60)
    yield made
    made.close()


def test_every_gpu_is_found(glancer: Glancer, gpus: dict[str, Plain]) -> None:
    found = glancer.look()

    assert set(found["present"]) == set(found["readings"])
    devices = {uuid: one["device"] for uuid, one in found["readings"].items()}
    physical = {uuid: one for uuid, one in devices.items() if not one["parent"]}
    assert {uuid: one["model"] for uuid, one in physical.items()} == {
        uuid: gpu.name for uuid, gpu in gpus.items()
    }
    assert {uuid: one["weight"] for uuid, one in physical.items()} == {
        uuid: 0 if gpu.mig else 10_080 for uuid, gpu in gpus.items()
    }
    assert not any(one["down"] or one["remade"] for one in found["readings"].values())
    assert (found["available"], found["errors"], found["silent"]) == (True, 0, 0)


def test_use_is_known_without_a_hole(glancer: Glancer, whole: str) -> None:
    looks = []
    for _ in range(4):
        time.sleep(0.5)
        looks.append(glancer.look()["readings"][whole])
    spans = [tuple(span) for look in looks for span in look["busy"]]

    # From the driver's buffer of samples, or from its rates.
    assert spans
    assert all(begin < end and 0 <= value <= 10_000 for begin, end, value in spans)
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert looks[-1]["at"] - 1_500 <= spans[-1][1] <= looks[-1]["at"] + 50
    for before, after in pairwise(looks):
        assert after["seen_from"] == before["at"]


def test_energy_grows_as_the_counter_does(
    machine: AnyMachine, gpus: dict[str, Plain], whole: str
) -> None:
    if gpus[whole].energy is None:
        raise NoHardware("needs a GPU that counts its energy")
    before = ask(machine)[whole].energy
    glancer = Glancer(machine.environment(), INTERVAL_MS)
    glancer.until(lambda found: whole in found["readings"], 60)
    parts = []
    for _ in range(3):
        time.sleep(0.5)
        parts.append(glancer.look()["readings"][whole]["energy"])
    glancer.close()
    after = ask(machine)[whole].energy

    assert before is not None
    assert after is not None
    assert all(begin < end and energy > 0 for begin, end, energy in parts)
    assert all(one[1] == other[0] for one, other in pairwise(parts))
    assert sum(energy for _, _, energy in parts) <= after - before


def test_a_look_costs_few_calls(glancer: Glancer, gpus: dict[str, Plain]) -> None:
    before = Counter(glancer.look()["calls"])
    looks = 10
    for _ in range(looks):
        found = glancer.look()
    calls = Counter(found["calls"]) - before

    instances = len(found["readings"]) - len(gpus)
    assert 0 < sum(calls.values()) <= looks * (5 * len(gpus) + 3 * instances)
    assert "nvmlDeviceGetPcieThroughput" not in found["calls"]


def test_a_look_is_over_in_time(glancer: Glancer, gpus: dict[str, Plain]) -> None:
    for _ in range(20):
        found = glancer.look()
        assert found["took"] < PATIENCE
        assert (found["silent"], found["errors"]) == (0, 0)
        assert gpus.keys() <= found["readings"].keys()


def test_a_process_is_seen_while_it_computes(
    machine: AnyMachine, glancer: Glancer, whole: str
) -> None:
    with machine.computing(whole) as held:
        if not ask(machine)[whole].processes:
            raise NoHardware("needs to be where NVML tells of processes: not in a container's PIDs")
        time.sleep(1)
        glancer.look()
        time.sleep(2)
        during = glancer.look()["readings"][whole]
    time.sleep(1)
    after = glancer.look()["readings"][whole]

    assert during["occupied"]
    assert during["memory"] >= held
    length = sum(end - begin for begin, end, _ in during["busy"])
    assert sum((end - begin) * value for begin, end, value in during["busy"]) > 5_000 * length
    assert after["occupied"] == bool(ask(machine)[whole].processes)
