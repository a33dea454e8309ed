"""The fake NVML library of ``tests/fakes/nvml``, built where there is a C compiler."""

from __future__ import annotations

import functools
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "fakes" / "nvml" / "nvml.c"


@functools.cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="fake-nvml-"))


@functools.cache
def build() -> Path:
    """Build the library, once a run of the tests; return the folder for LD_LIBRARY_PATH."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("the fake NVML library needs a C compiler (apt-get install gcc libc6-dev)")
    folder = _folder()
    subprocess.run(
        [
            compiler, "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-O1",
            "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1",
            str(SOURCE), "-o", str(folder / "libnvidia-ml.so.1"),
        ],
        check=True,
    )  # fmt: skip
    return folder


def remove() -> None:
    """Take the built library away; who needs it after that builds it again."""
    if _folder.cache_info().currsize:
        shutil.rmtree(_folder(), ignore_errors=True)
        _folder.cache_clear()
        build.cache_clear()


class FakeMachine:
    """A machine's GPUs, as a script that tests rewrite while processes look at it."""

    def __init__(self, script: Path) -> None:
        self._script = script
        self._calls = script.with_name(script.name + ".calls")
        self._library = build()
        self.has("")

    def has(self, text: str) -> None:
        """Replace the script; see ``nvml.c`` for its lines."""
        temporary = self._script.with_suffix(".new")
        temporary.write_text("\n".join(line.strip() for line in text.splitlines()) + "\n")
        temporary.replace(self._script)

    def environment(self) -> Mapping[str, str]:
        """The environment of a process that is to see this machine."""
        return {
            **os.environ,
            "LD_LIBRARY_PATH": str(self._library),
            "FAKE_NVML": str(self._script),
            "FAKE_NVML_CALLS": str(self._calls),
        }

    def calls(self) -> dict[str, int]:
        """How often each function was called so far, by all processes that see this machine."""
        if not self._calls.exists():
            return {}
        found = {}
        for name, count in struct.iter_unpack("<56sQ", self._calls.read_bytes()):
            if name[0]:
                found[name.rstrip(b"\0").decode("ascii")] = count
        return found


@dataclass(frozen=True, slots=True)
class Load:
    """What keeps a device of the fake library busy, as a function of CLOCK_BOOTTIME."""

    line: str
    """For the script, after the device's own line."""

    def busy(self, begin: int, end: int) -> int:
        """Percent times milliseconds between two moments in milliseconds: what is true."""
        kind, *numbers = self.line.split()[1:]
        values = [int(number) for number in numbers]
        if kind == "steady":
            return values[0] * (end - begin)
        total = 0
        while begin < end:
            period = values[-1]
            slot = begin // period
            stop = min((slot + 1) * period, end)
            if kind == "burst":
                on_until = slot * period + values[1]
                total += values[0] * max(min(stop, on_until) - begin, 0)
            else:
                total += _mixed(values[0] ^ slot) % 101 * (stop - begin)
            begin = stop
        return total


def _mixed(number: int) -> int:
    mask = 2**64 - 1
    number = (number + 0x9E3779B97F4A7C15) & mask
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & mask
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & mask
    return number ^ (number >> 31)


STEADY = Load("util steady 37")
BURSTS = Load("util burst 100 1000 10000")
RANDOM = Load("util random 7 250")
