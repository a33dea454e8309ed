"""Starts the agent, the ledger and its commands, each as a process of its own, at once.

A process is forked from one that has imported everything, because a crash test starts hundreds; the
command it runs is the installed one. It reads orders from its standard input, one JSON object a
line, and reports what ended. When its input closes, or it dies, so do its processes.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import select
import signal
import sys
import time
from typing import Any

from arcetri_accounting import killpoints

_MAINS = {
    "arcetri-agent": "arcetri_accounting.agent.cli",
    "arcetri-ledger": "arcetri_accounting.ledger.cli",
}
_NEEDED = (
    *_MAINS.values(),
    "arcetri_accounting.agent.running",
    "arcetri_accounting.ledger.app",
    "arcetri_accounting.ledger.backup",
    "arcetri_accounting.ledger.corrections",
    "arcetri_accounting.ledger.importing",
    "arcetri_accounting.ledger.importrows",
    "arcetri_accounting.ledger.verify",
    "psycopg",
    "uvicorn",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
)
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def boottime() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class Launcher:
    """Has the processes."""

    def __init__(self) -> None:
        self._running: dict[int, int] = {}
        self._reports = sys.stdout
        self._wake, told = os.pipe()
        os.set_blocking(told, False)
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        """Take orders until there can be no more."""
        rest = b""
        self._report({"ready": True})
        while True:
            ready, _, _ = select.select([0, self._wake], [], [])
            if self._wake in ready:
                os.read(self._wake, 4096)
                self._reap()
            if 0 in ready:
                chunk = os.read(0, 65536)
                if not chunk:
                    break
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._obey(json.loads(line))
        for pid in self._running:
            os.kill(pid, signal.SIGKILL)

    def _obey(self, order: dict[str, Any]) -> None:
        number = order["id"]
        if "signal" in order:
            for pid, running in self._running.items():
                # Whoever is here was not reaped: the number is still its own.
                if running == number:
                    os.kill(pid, order["signal"])
            return
        pid = os.fork()
        if not pid:
            _become(order)
        self._running[pid] = number

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            code = os.waitstatus_to_exitcode(status)
            self._report({"id": self._running.pop(pid), "code": code, "at": boottime()})

    def _report(self, said: dict[str, Any]) -> None:
        self._reports.write(json.dumps(said) + "\n")
        self._reports.flush()


def _become(order: dict[str, Any]) -> None:
    """Be the ordered process; never returns."""
    code = 1
    try:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.closerange(3, 64)
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        program, *arguments = order["command"]
        point, _, count = order["killpoint"].partition(":")
        killpoints._name, killpoints._left = point, int(count or 1)
        sys.argv = [program, *arguments]
        importlib.import_module(_MAINS[program]).main(arguments, prog_name=program)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    for name in _NEEDED:
        importlib.import_module(name)
    # What the tests' own terminal or group is told is not for these.
    os.setsid()
    Launcher().serve()
