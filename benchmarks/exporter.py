"""nvitop-exporter on the fake NVML library, in an environment of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import httpx

from arcetri_hub.up import ports
from benchmarks.processes import cpu_seconds, resident_mb
from tests.support.nvml import FakeMachine

REQUIREMENTS: Final = Path(__file__).parent.parent / "requirements" / "bench.txt"
HANDED_OVER: Final = 2
"""Seconds from one scrape to the next."""
_VERSIONS: Final = """
import importlib.metadata, json
print(json.dumps({n: importlib.metadata.version(n) for n in
    ("nvitop-exporter", "nvitop", "nvidia-ml-py", "prometheus-client")}))
"""


def install(folder: Path) -> Path | None:
    """Install what is locked; its interpreter, or None where it cannot be had."""
    python = folder / "bin" / "python"
    pip = ["-m", "pip", "install", "--quiet", "--require-hashes", "-r", REQUIREMENTS]
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=300)  # noqa: S603
        subprocess.run(  # noqa: S603
            [python, *pip], check=True, timeout=300, stderr=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return python


def versions(python: Path) -> str:
    """What was installed, as JSON."""
    return subprocess.run(  # noqa: S603
        [python, "-c", _VERSIONS], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


@dataclass(slots=True)
class Exporter:
    """One that runs and looks at devices; also the agent is one."""

    machine: FakeMachine
    process: subprocess.Popen[bytes]
    devices: int
    """How many it looks at,"""
    looks: str = "nvmlDeviceGetMemoryInfo_v2"
    """once a cycle, with this call."""
    _at: tuple[float, float] = (0, 0)
    """Seconds of processor, and cycles, when it was last asked."""

    def cycles(self) -> float:
        """How many it has had, the one that is under way in part."""
        return self.machine.calls().get(self.looks, 0) / self.devices

    def lap(self) -> tuple[float, float]:
        """Seconds of processor, and cycles, since the last call."""
        before, self._at = self._at, (cpu_seconds(self.process.pid), self.cycles())
        return self._at[0] - before[0], self._at[1] - before[1]

    def calls(self) -> int:
        """Calls of NVML so far."""
        return sum(self.machine.calls().values())

    def resident_mb(self) -> float:
        """Resident memory."""
        return resident_mb(self.process.pid)


@contextlib.contextmanager
def running(python: Path, machine: FakeMachine, devices: int) -> Iterator[Exporter]:
    """Run one; it is looking when this yields."""
    port = ports.choose()
    with subprocess.Popen(  # noqa: S603 - installed above
        [python.with_name("nvitop-exporter"), "--port", str(port), "--interval", "1"],
        env=machine.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        made = Exporter(machine, process, devices)
        try:
            deadline = time.monotonic() + 60
            while made.cycles() < 3:
                if time.monotonic() > deadline:
                    raise RuntimeError("nvitop-exporter does not look at the devices")
                time.sleep(0.1)
            with _scraped(port):
                yield made
        finally:
            process.kill()


@contextlib.contextmanager
def _scraped(port: int) -> Iterator[None]:
    done = threading.Event()

    def scrape() -> None:
        while not done.wait(HANDED_OVER):
            with contextlib.suppress(httpx.HTTPError):
                httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=20, trust_env=False)

    scraper = threading.Thread(target=scrape)
    scraper.start()
    try:
        yield
    finally:
        done.set()
        scraper.join()


@contextlib.contextmanager
def watched(exporter: Exporter) -> Iterator[dict[str, Any]]:
    """See meanwhile how long its cycles take; the answer is filled in at the end."""
    done = threading.Event()
    bursts: list[float] = []
    apart: list[float] = []
    found: dict[str, Any] = {}

    def watch() -> None:
        began: float | None = None
        last = whole = time.monotonic()
        calls, cycles = exporter.calls(), exporter.cycles()
        while not done.wait(0.005):
            now = time.monotonic()
            if (counted := exporter.calls()) != calls:
                began = began or now
                if int(looked := exporter.cycles()) != int(cycles):
                    apart.append(now - whole)
                    whole, cycles = now, looked
                last, calls = now, counted
            elif began is not None and now - last > 0.3:
                bursts.append(last - began)
                began = None
        apart.append(time.monotonic() - whole)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        done.set()
        watcher.join()
    found["cycle_ms_median"] = round(1000 * median(bursts), 2) if bursts else None
    found["seconds_between_cycles_longest"] = round(max(apart), 2)
