"""A machine with GPUs, real or scripted, for tests that hold on either.

What is true is asked of NVML in the plainest way, in a process of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.support import cudaload
from tests.support.nvml import FakeMachine
from tests.support.tiers import NoHardware

ROOT = Path(__file__).parents[2]
_ASK = """
import json, pynvml
pynvml.nvmlInit()
def ask(function, handle):
    try:
        return function(handle)
    except pynvml.NVMLError_NotSupported:
        return None
found = []
for index in range(pynvml.nvmlDeviceGetCount()):
    gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
    processes = ask(pynvml.nvmlDeviceGetComputeRunningProcesses_v3, gpu)
    found.append(dict(
        uuid=pynvml.nvmlDeviceGetUUID(gpu),
        name=pynvml.nvmlDeviceGetName(gpu),
        mig=bool((ask(pynvml.nvmlDeviceGetMigMode, gpu) or [0])[0]),
        energy=ask(pynvml.nvmlDeviceGetTotalEnergyConsumption, gpu),
        processes=None if processes is None else len(processes),
    ))
print(json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class Plain:
    """What NVML says of a GPU now."""

    uuid: str
    name: str
    mig: bool
    """It is in MIG mode."""
    energy: int | None
    """Millijoules; None where it does not count them."""
    processes: int | None
    """Compute processes; None where it does not tell."""


class AnyMachine(Protocol):
    """A machine that has at least one GPU."""

    def environment(self) -> Mapping[str, str]:
        """The environment of a process that is to see it."""

    def computing(self, uuid: str) -> contextlib.AbstractContextManager[int]:
        """Keep a GPU busy meanwhile; gives the bytes that the process holds at least."""


def ask(machine: AnyMachine) -> dict[str, Plain]:
    """Every GPU of a machine, by uuid."""
    result = subprocess.run(
        [sys.executable, "-c", _ASK],
        env=machine.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        timeout=60, check=True,
    )  # fmt: skip
    return {one["uuid"]: Plain(**one) for one in json.loads(result.stdout)}


class ScriptedGpu:
    """The fake library with one GPU, mostly idle."""

    _IDLE = "gpu GPU-0 nomig Tesla T4\nenergy 1000 70000\nutil steady {}\n"

    def __init__(self, folder: Path) -> None:
        self._machine = FakeMachine(folder / "machine")
        self._machine.has(self._IDLE.format(3))

    def environment(self) -> Mapping[str, str]:
        return self._machine.environment()

    @contextlib.contextmanager
    def computing(self, uuid: str) -> Iterator[int]:
        assert uuid == "GPU-0"
        held = 1 << 30
        self._machine.has(self._IDLE.format(97) + f"process 4001 {held}")
        yield held
        self._machine.has(self._IDLE.format(3))


class RealGpu:
    """Whatever the system's own NVML finds."""

    def environment(self) -> Mapping[str, str]:
        return os.environ

    @contextlib.contextmanager
    def computing(self, uuid: str) -> Iterator[int]:
        with subprocess.Popen(
            [sys.executable, "-m", "tests.support.cudaload"],
            cwd=ROOT, env={**os.environ, "CUDA_VISIBLE_DEVICES": uuid},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                if process.stdout.readline() != "computing\n":
                    why = process.stderr.read().strip()
                    assert process.wait(20) == cudaload.NO_CUDA, why
                    raise NoHardware(f"needs a GPU that CUDA can use ({why})")
                yield cudaload.BYTES
            finally:
                process.stdin.close()
                process.wait(60)
