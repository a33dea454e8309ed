"""Processes that a test starts, kills, stops and continues, by their number at the launcher."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path


@dataclass
class Process:
    """One process, as far as it is known."""

    launcher: Launcher
    id: int
    log: Path
    logged: int
    """How long its log was when it began."""
    killpoint: str
    code: int | None = None
    ended_at: int = 0
    """CLOCK_BOOTTIME in milliseconds."""
    killed: bool = False
    """It was killed from outside."""

    def signal(self, number: int) -> None:
        self.launcher.order({"id": self.id, "signal": number})

    def kill(self) -> None:
        """As ``kill -9``; returns when it is gone."""
        self.killed = True
        self.signal(signal.SIGKILL)
        self.wait(20)

    @property
    def ended(self) -> bool:
        self.launcher.listen()
        return self.code is not None

    @property
    def hit(self) -> str | None:
        """The kill point it died at, if it did."""
        if self.ended and self.code == -signal.SIGKILL and not self.killed:
            return self.killpoint.partition(":")[0]
        return None

    def wait(self, patience: float) -> int:
        until = time.monotonic() + patience
        while not self.ended:
            assert time.monotonic() < until, f"it does not end: {self.said()}"
            time.sleep(0.005)
        assert self.code is not None
        return self.code

    def said(self) -> str:
        """What it wrote into its log."""
        with self.log.open("rb") as file:
            file.seek(self.logged)
            return file.read().decode(errors="replace")


class Launcher:
    """The process that starts the others."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        hub = ("JUPYTERHUB", "ARCETRI")
        kept = {name: value for name, value in environment.items() if not name.startswith(hub)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.accounting.crash.launcher"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[3],
            env=kept,
        )
        self._numbers = count(1)
        self._processes: dict[int, Process] = {}
        self._reports: queue.Queue[dict[str, int]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, name="reports", daemon=True)
        self._reader.start()
        assert self._reports.get(timeout=120)["ready"]

    def start(self, *command: str | Path, log: Path, killpoint: str = "") -> Process:
        """Start a command of the project; it dies at the kill point, ``POINT`` or ``POINT:N``."""
        number = next(self._numbers)
        log.touch()
        logged = log.stat().st_size
        made = Process(self, number, log, logged, killpoint)
        self._processes[number] = made
        said = {"command": [str(part) for part in command], "log": str(log)}
        self.order({"id": number, "killpoint": killpoint, **said})
        return made

    def order(self, said: Mapping[str, object]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(said).encode() + b"\n")
        self._process.stdin.flush()

    def listen(self) -> None:
        """Take what was reported."""
        while True:
            try:
                report = self._reports.get_nowait()
            except queue.Empty:
                return
            one = self._processes.pop(report["id"])
            one.ended_at, one.code = report["at"], report["code"]

    def close(self) -> None:
        """End everything."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join(20)
            self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._reports.put(json.loads(line))


@contextmanager
def launching(environment: Mapping[str, str] | None = None) -> Iterator[Launcher]:
    made = Launcher(os.environ if environment is None else environment)
    try:
        yield made
    finally:
        made.close()
