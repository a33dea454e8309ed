"""Processes of this machine, told apart for certain: by pid, start time and boot.

A pid alone names nothing, it is used again. Everything here reads /proc or uses a pidfd, and says
"unknown" rather than guess.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from uuid import UUID

SESSION_VARIABLE = "ARCETRI_SESSION_ID"
INSTANCE_VARIABLE = "ARCETRI_INSTANCE"

_PROC = Path("/proc")


class Fate(Enum):
    """What became of a process that was recorded."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ProcessKey:
    """One process, for ever."""

    pid: int
    start_ticks: int
    """Field 22 of /proc/PID/stat."""
    boot_id: str


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """What /proc/PID/stat says that matters here."""

    pid: int
    state: str
    parent: int
    start_ticks: int

    @property
    def running(self) -> bool:
        """False for a zombie: it holds no device any more."""
        return self.state not in "ZXx"


@cache
def boot_id() -> str:
    """The kernel's id of this boot."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def boottime_ms() -> int:
    """CLOCK_BOOTTIME in milliseconds: never steps, and counts while the machine sleeps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def read_stat(pid: int) -> ProcessStat | None:
    """What the kernel says of ``pid``; None when there is no such process.

    Raises:
        OSError: /proc cannot be read.
    """
    try:
        text = (_PROC / str(pid) / "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name, in parentheses, may itself hold parentheses and spaces.
    fields = text[text.rindex(b")") + 2 :].split()
    return ProcessStat(
        pid=pid, state=fields[0].decode(), parent=int(fields[1]), start_ticks=int(fields[19])
    )


def key_of(pid: int) -> ProcessKey | None:
    """The key of a process that exists now."""
    stat = read_stat(pid)
    return ProcessKey(pid, stat.start_ticks, boot_id()) if stat else None


def fate(key: ProcessKey) -> Fate:
    """Whether the process still runs; a zombie does not."""
    if key.boot_id != boot_id():
        return Fate.DEAD
    try:
        stat = read_stat(key.pid)
    except OSError:
        return Fate.UNKNOWN
    if stat is None or stat.start_ticks != key.start_ticks or not stat.running:
        return Fate.DEAD
    return Fate.ALIVE


def open_pidfd(key: ProcessKey) -> int | None:
    """A descriptor of exactly this process, also as a zombie; None when it is gone.

    Raises:
        OSError: It cannot be opened for another reason (no descriptors left).
    """
    if key.boot_id != boot_id():
        return None
    try:
        descriptor = os.pidfd_open(key.pid)
    except ProcessLookupError:
        return None
    # Checked after opening: from here on the pid cannot become another process unnoticed.
    stat = read_stat(key.pid)
    if stat is None or stat.start_ticks != key.start_ticks:
        os.close(descriptor)
        return None
    return descriptor


def _environment(pid: int) -> bytes:
    try:
        return b"\0" + (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        # Gone meanwhile, or another account's: no session of ours.
        return b""


def _all() -> dict[int, ProcessStat]:
    found: dict[int, ProcessStat] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            try:
                stat = read_stat(int(entry.name))
            except OSError:
                continue
            if stat is not None:
                found[stat.pid] = stat
    return found


def _with_descendants(
    roots: Iterable[int], processes: dict[int, ProcessStat]
) -> dict[int, ProcessStat]:
    children: dict[int, list[int]] = {}
    for stat in processes.values():
        children.setdefault(stat.parent, []).append(stat.pid)
    members: dict[int, ProcessStat] = {}
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid in processes and pid not in members:
            members[pid] = processes[pid]
            waiting += children.get(pid, [])
    return members


def family(pid: int) -> list[int]:
    """The process and those descended from it that kept their parents, from the kernel's own lists.

    Cheap, and for a first look only: a process whose parent ended is not in it.
    """
    members = [pid]
    for member in members:
        try:
            text = (_PROC / str(member) / "task" / str(member) / "children").read_bytes()
        except OSError:
            # Gone meanwhile, or a kernel without these lists.
            continue
        members += [int(child) for child in text.split()]
    return members


def sessions_of(instance_id: str) -> dict[UUID, list[ProcessStat]]:
    """Every running process that belongs to a session of this instance, by session.

    A process belongs when it, or a parent of it, carries the session's id in its environment.
    """
    processes = _all()
    mark = f"\0{INSTANCE_VARIABLE}={instance_id}\0".encode()
    name = f"\0{SESSION_VARIABLE}=".encode()
    roots: dict[UUID, list[int]] = {}
    for pid in processes:
        environment = _environment(pid)
        if mark in environment and name in environment:
            value = environment.split(name, 1)[1].split(b"\0", 1)[0]
            try:
                roots.setdefault(UUID(value.decode()), []).append(pid)
            except ValueError:
                continue
    found: dict[UUID, list[ProcessStat]] = {}
    for session_id, pids in roots.items():
        members = _with_descendants(pids, processes)
        running = [stat for pid, stat in members.items() if stat.running and pid != os.getpid()]
        if running:
            found[session_id] = running
    return found


def send(stat: ProcessStat, number: signal.Signals) -> None:
    """Send a signal to exactly this process; one that is gone is no error."""
    try:
        descriptor = open_pidfd(ProcessKey(stat.pid, stat.start_ticks, boot_id()))
        if descriptor is None:
            return
        try:
            signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)
    except ProcessLookupError:
        return


def kill_session(instance_id: str, session_id: UUID, *, patience: float) -> bool:
    """Kill every process of a session, also those that left its process group.

    Args:
        instance_id: Whose session.
        session_id: Which session.
        patience: Seconds to wait for the kernel to take them away.

    Returns:
        Whether none is left.
    """
    deadline = time.monotonic() + patience
    pause = 0.005
    while True:
        members = sessions_of(instance_id).get(session_id, [])
        if not members:
            return True
        for stat in members:
            send(stat, signal.SIGKILL)
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 2, 0.1)


def end_instance(instance_id: str, *, grace: float) -> int:
    """End every session process of an instance whose hub is not running; for a fresh start.

    Args:
        instance_id: Whose sessions.
        grace: Seconds between asking and killing.

    Returns:
        How many sessions were ended.
    """
    sessions = sessions_of(instance_id)
    for members in sessions.values():
        for stat in members:
            send(stat, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while sessions_of(instance_id) and time.monotonic() < deadline:
        time.sleep(0.05)
    for session_id in sessions_of(instance_id):
        kill_session(instance_id, session_id, patience=5.0)
    return len(sessions)
