"""Which devices a flavour has: simulated ones, and those that NVML finds."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from arcetri_spawner.backends.local.devices import inventory, label_of, offered
from arcetri_spawner.backends.local.nvml import Gpu, Look, MigInstance, Watcher
from arcetri_spawner.catalog import load
from arcetri_spawner.catalog.models import Catalog
from tests.spawner.local.world import World, catalog_text
from tests.support.builders import NOW
from tests.support.gpu import RealGpu, ScriptedGpu, ask
from tests.support.nvml import FakeMachine, remove

ROOT = Path(__file__).parents[3]

NOTHING = Look((), complete=True)
FARM = Look(
    (
        Gpu("GPU-t4", "Tesla T4"),
        Gpu("GPU-a100", "NVIDIA A100"),
        Gpu(
            "GPU-mig",
            "NVIDIA A100",
            mig_enabled=True,
            instances=(MigInstance("MIG-1", "1g.5gb"), MigInstance("MIG-2", "2g.10gb")),
        ),
    ),
    complete=True,
)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    path = tmp_path / "profiles.yaml"
    path.write_text(catalog_text(t4=2, a100_1g=1, v70=1))
    return load(path).catalog


def uuids(catalog: Catalog, seen: Look, *, simulate: bool = True) -> dict[str, list[str]]:
    found = offered(catalog, seen, simulate=simulate)
    return {
        name: [device.uuid for device in offer.devices]
        for name, offer in found.items()
        if name != "cpu"
    }


def test_without_a_gpu_the_catalog_says_what_is_simulated(catalog: Catalog) -> None:
    assert uuids(catalog, NOTHING) == {
        "t4": ["SIM-t4-1", "SIM-t4-2"],
        "a100": [],
        "a100-1g": ["SIM-a100-1g-1"],
        "v70": ["SIM-v70-1"],
    }
    assert offered(catalog, NOTHING, simulate=True)["t4"].simulated


def test_simulation_can_be_forbidden(catalog: Catalog) -> None:
    assert set(map(len, uuids(catalog, NOTHING, simulate=False).values())) == {0}


def test_one_real_gpu_ends_the_simulation_of_all(catalog: Catalog) -> None:
    seen = Look((Gpu("GPU-other", "Quadro RTX 5000"),), complete=True)

    assert uuids(catalog, seen) == {"t4": [], "a100": [], "a100-1g": [], "v70": ["SIM-v70-1"]}


def test_a_driver_that_gives_no_answer_is_not_replaced_by_a_simulation(catalog: Catalog) -> None:
    assert uuids(catalog, Look((), complete=False))["t4"] == []


def test_devices_are_matched_by_product_and_resource(catalog: Catalog) -> None:
    assert uuids(catalog, FARM) == {
        "t4": ["GPU-t4"],
        "a100": ["GPU-a100"],
        "a100-1g": ["MIG-1"],
        "v70": ["SIM-v70-1"],
    }


@pytest.mark.parametrize(
    ("name", "label"),
    [("Tesla T4", "Tesla-T4"), ("NVIDIA A100-PCIE-40GB", "NVIDIA-A100-PCIE-40GB")],
)
def test_a_product_is_spelled_as_its_node_label(name: str, label: str) -> None:
    assert label_of(name) == label


def test_what_is_leased_is_not_free(catalog: Catalog) -> None:
    found = inventory(
        catalog,
        offered(catalog, NOTHING, simulate=True),
        {"SIM-t4-2", "CPU-1", "SIM-gone-9"},
        as_of=NOW,
        stale=False,
    )

    assert (found.flavors["t4"].total, found.flavors["t4"].free) == (2, 1)
    assert (found.flavors["cpu"].total, found.flavors["cpu"].free) == (2, 1)
    assert found.environments == frozenset({"python"})


async def test_a_catalog_with_fewer_devices_leaves_running_sessions(world: World) -> None:
    changes = aiter(world.backend.inventory())
    assert (await anext(changes)).flavors["t4"].free == 2
    session = await world.start(await world.grant())
    assert (await anext(changes)).flavors["t4"].free == 1

    world.edit(catalog_text(t4=0))

    now = await anext(changes)
    assert (now.flavors["t4"].total, now.flavors["t4"].free) == (0, 0)
    assert await world.backend.restore(session.id) == session


async def test_a_look_that_hangs_blocks_nobody_and_is_not_repeated() -> None:
    release = threading.Event()
    looks = 0

    def hang() -> Look:
        nonlocal looks
        looks += 1
        release.wait(10)
        return FARM

    watcher = Watcher(0.05, hang)

    await watcher.refresh()
    await watcher.refresh()
    assert (looks, watcher.stale, watcher.last.gpus) == (1, True, ())

    release.set()
    while watcher.stale:
        await watcher.refresh()
    assert watcher.last == FARM


async def test_a_library_that_raises_keeps_what_is_known() -> None:
    answers: list[Look | Exception] = [FARM, OSError("broken")]

    def ask() -> Look:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    watcher = Watcher(5.0, ask)
    assert await watcher.refresh()
    assert await watcher.refresh()

    assert watcher.stale
    assert watcher.last.gpus == FARM.gpus
    await asyncio.sleep(0)


class Looker:
    """A process that loads the NVML library, real code on a fake one."""

    def __init__(self, environment: Mapping[str, str], profiles: Path, limit: float = 5.0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.spawner.local.look", str(profiles), str(limit)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def look(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        answer["uuids"] = {
            name: [device["uuid"] for device in devices]
            for name, devices in answer["flavors"].items()
            if devices and name != "cpu"
        }
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


@pytest.fixture(scope="module", autouse=True)
def _library() -> Iterator[None]:
    yield
    remove()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> FakeMachine:
    return FakeMachine(tmp_path_factory.mktemp("nvml") / "machine")


@pytest.fixture(scope="module")
def looker(machine: FakeMachine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looker]:
    """One process for all tests: what changes is the machine."""
    profiles = tmp_path_factory.mktemp("looker") / "profiles.yaml"
    profiles.write_text(catalog_text(t4=2))
    made = Looker(machine.environment(), profiles)
    yield made
    made.close()


def unload(looker: Looker, machine: FakeMachine, code: int) -> None:
    """Have the driver fail, and from then on refuse to be initialised."""
    machine.has("fault nvmlDeviceGetCount_v2 999")
    assert looker.look()["stale"]
    machine.has(f"fault nvmlInitWithFlags {code}")


@pytest.mark.component
def test_gpus_and_instances_are_found_through_nvml(looker: Looker, machine: FakeMachine) -> None:
    machine.has(
        """
        gpu GPU-0 nomig Tesla T4
        gpu GPU-1 whole NVIDIA A100
        gpu GPU-2 mig NVIDIA A100
        mig MIG-0 1g.5gb
        mig MIG-1 1g.5gb unnamed
        mig MIG-2 1g.5gb+me
        mig MIG-3 3g.20gb
        """
    )

    found = looker.look()

    assert found["uuids"] == {"t4": ["GPU-0"], "a100": ["GPU-1"], "a100-1g": ["MIG-0", "MIG-1"]}
    assert found["flavors"]["t4"][0]["model"] == "Tesla T4"
    assert not found["flavors"]["t4"][0]["simulated"]
    assert not found["stale"]


@pytest.mark.component
def test_a_machine_whose_instances_change_is_seen_anew(
    looker: Looker, machine: FakeMachine
) -> None:
    machine.has("gpu GPU-0 whole NVIDIA A100")
    assert looker.look()["uuids"] == {"a100": ["GPU-0"]}

    machine.has("gpu GPU-0 mig NVIDIA A100\nmig MIG-0 1g.5gb")

    assert looker.look()["uuids"] == {"a100-1g": ["MIG-0"]}


@pytest.mark.component
@pytest.mark.parametrize("code", [1, 3, 4, 15, 16, 999])
@pytest.mark.parametrize(
    "function", ["nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetUUID", "nvmlDeviceGetName"]
)
def test_a_lost_gpu_does_not_hide_the_others(
    looker: Looker, machine: FakeMachine, function: str, code: int
) -> None:
    machine.has(
        f"""
        gpu GPU-0 whole Tesla T4
        gpu GPU-1 whole Tesla T4
        fault {function} {code} GPU-0
        """
    )
    found = looker.look()
    assert found["uuids"] == {"t4": ["GPU-1"]}
    assert found["stale"]

    machine.has("gpu GPU-0 whole Tesla T4\ngpu GPU-1 whole Tesla T4")
    found = looker.look()
    assert found["uuids"] == {"t4": ["GPU-0", "GPU-1"]}
    assert not found["stale"]


@pytest.mark.component
@pytest.mark.parametrize("code", [18, 999])
def test_a_driver_that_cannot_be_used_is_no_machine_without_gpu(
    looker: Looker, machine: FakeMachine, code: int
) -> None:
    unload(looker, machine, code)

    found = looker.look()

    assert found["stale"]
    known = [uuid for uuids in found["uuids"].values() for uuid in uuids]
    assert not any(uuid.startswith("SIM") for uuid in known)


@pytest.mark.component
def test_a_driver_that_is_not_loaded_is_a_machine_without_gpu(
    looker: Looker, machine: FakeMachine
) -> None:
    unload(looker, machine, 9)

    found = looker.look()

    assert not found["stale"]
    assert found["uuids"] == {"t4": ["SIM-t4-1", "SIM-t4-2"]}


@pytest.mark.component
def test_a_driver_that_hangs_makes_the_inventory_stale(
    machine: FakeMachine, tmp_path: Path
) -> None:
    profiles = tmp_path / "profiles.yaml"
    profiles.write_text(catalog_text(t4=2))
    looker = Looker(machine.environment(), profiles, limit=1.0)
    machine.has("gpu GPU-0 whole Tesla T4")
    looker.look()
    machine.has("gpu GPU-0 whole Tesla T4\nhang nvmlDeviceGetUUID 600")

    found = looker.look()

    assert found["stale"]
    assert found["uuids"] == {"t4": ["GPU-0"]}
    # A thread that hangs in the driver does not keep the process from ending either.
    looker.close()


@pytest.mark.component
@pytest.mark.parametrize("kind", ["fake", pytest.param("real", marks=pytest.mark.gpu)])
def test_every_gpu_of_this_machine_is_found(kind: str, tmp_path: Path) -> None:
    machine = RealGpu() if kind == "real" else ScriptedGpu(tmp_path)
    profiles = tmp_path / "profiles.yaml"
    profiles.write_text(catalog_text(t4=2))
    # A driver without persistence powers its GPUs up first.
    looker = Looker(machine.environment(), profiles, limit=60)

    found = looker.look()
    looker.close()

    assert not found["stale"]
    assert {gpu["uuid"]: (gpu["name"], gpu["mig_enabled"]) for gpu in found["gpus"]} == {
        uuid: (gpu.name, gpu.mig) for uuid, gpu in ask(machine).items()
    }
    simulated = {one["simulated"] for name in ("t4", "a100") for one in found["flavors"][name]}
    assert True not in simulated
