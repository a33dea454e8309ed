"""The fake NVML library of ``tests/fakes/nvml``, built where there is a C compiler."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
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
    """Take the built library away."""
    if _folder.cache_info().currsize:
        shutil.rmtree(_folder(), ignore_errors=True)


class FakeMachine:
    """A machine's GPUs, as a script that tests rewrite while processes look at it."""

    def __init__(self, script: Path) -> None:
        self._script = script
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
        }
