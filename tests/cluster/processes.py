"""The components as processes of the first process inside, which also buries strangers."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.components import Component


class Died(Exception):
    """A component ended that nobody had told to; the message has its last words."""


@dataclass(slots=True)
class Processes:
    """Which components run."""

    logs: Path
    environment: Mapping[str, str]
    running: dict[str, int] = field(default_factory=dict)
    """The components' names and pids."""

    def start(self, component: Component) -> None:
        """Start one, its output added to its log."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        log = str(self.logs / f"{component.name}.log")
        self.running[component.name] = os.posix_spawnp(
            component.command[0],
            component.command,
            self.environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, flags, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigdef=[signal.SIGTERM, signal.SIGINT],
        )

    def stop(self, name: str) -> None:
        """Kill one, as a fault would."""
        pid = self.running.pop(name)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    def send(self, name: str, number: signal.Signals) -> None:
        """Send one a signal."""
        os.kill(self.running[name], number)

    def reap(self) -> None:
        """Take note of what has ended, the orphans of containers too.

        Raises:
            Died: One of the components has.
        """
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                for name, known in self.running.items():
                    if known == pid:
                        code = os.waitstatus_to_exitcode(status)
                        raise Died(f"{name} ended with status {code}:\n{self.last_words(name)}")

    def last_words(self, name: str, lines: int = 15) -> str:
        """The end of a component's log."""
        try:
            text = (self.logs / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])
