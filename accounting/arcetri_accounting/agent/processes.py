"""Whether a session's first process still lives, told by the kernel once it does not."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterable, Set
from pathlib import Path


def start_ticks(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat; None where there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The second field is the name in parentheses, and may itself have any character.
    fields = stat[stat.rfind(b")") + 1 :].split()
    return int(fields[19]) if len(fields) > 19 else None


class Processes:
    """Watches processes by descriptor: a pid that is used again is never taken for the first."""

    def __init__(self) -> None:
        self._files: dict[tuple[int, int], int] = {}
        self._dead: set[tuple[int, int]] = set()
        self._poll = select.poll()

    def alive(self, wanted: Iterable[tuple[int, int]]) -> Set[tuple[int, int]]:
        """Those of the wanted processes, by pid and start time, that live; others are let go."""
        names = set(wanted)
        for name in self._files.keys() - names:
            self._drop(name)
        self._dead &= names
        for name in names - self._files.keys() - self._dead:
            self._watch(*name)
        ended = {file for file, _event in self._poll.poll(0)} if self._files else set()
        if ended:
            for name in [name for name, file in self._files.items() if file in ended]:
                self._drop(name)
                self._dead.add(name)
        return self._files.keys()

    def close(self) -> None:
        """Let go of all."""
        for name in list(self._files):
            self._drop(name)

    def _watch(self, pid: int, ticks: int) -> None:
        try:
            file = os.pidfd_open(pid)
        except (OSError, OverflowError):
            self._dead.add((pid, ticks))
            return
        # Opened first and compared then: the descriptor cannot change its process.
        if start_ticks(pid) != ticks:
            os.close(file)
            self._dead.add((pid, ticks))
            return
        self._files[pid, ticks] = file
        self._poll.register(file, select.POLLIN)

    def _drop(self, name: tuple[int, int]) -> None:
        file = self._files.pop(name)
        with contextlib.suppress(KeyError):
            self._poll.unregister(file)
        os.close(file)
