"""Starting, finding and ending clusters, from outside."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from tests.cluster import builds, cache, cgroups, configuration, images, pki
from tests.cluster.cluster import Cluster
from tests.cluster.devices import DEFAULT_LAYOUT
from tests.cluster.state import State
from tests.support import tiers

REPOSITORY = Path(__file__).parents[2]
LONGEST_STATE = 90
"""Characters of a state folder's path: the control socket below it must fit into 108."""
START_PATIENCE = 300.0
STOP_PATIENCE = 30.0
_DAY = 24 * 3600
_HIDDEN = ("/run", "/var", "/proc", "/sys")
"""Folders that look another inside."""


def states() -> Path:
    """The folder of the clusters' state folders, where none is named."""
    folder = cache.root() / "states"
    folder.mkdir(exist_ok=True)
    return folder


def place(state: str) -> State:
    """The state folder that a person means: a name, or a path with a slash.

    Raises:
        ClusterError: It cannot be one.
    """
    folder = Path(state).absolute() if "/" in state else states() / state
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,30}[a-z0-9])?", folder.name):
        raise cache.ClusterError(
            f"A cluster cannot be called {folder.name!r}: up to 32 small letters, digits, dots and"
            " hyphens, such as 'mine'."
        )
    if len(str(folder)) > LONGEST_STATE:
        raise cache.ClusterError(
            f"{folder} is too long for a cluster's state folder: {LONGEST_STATE} characters are"
            " allowed, since sockets lie below it."
        )
    if any(folder.is_relative_to(hidden) for hidden in _HIDDEN):
        raise cache.ClusterError(
            f"{folder} cannot be a cluster's state folder: the cluster has its own"
            f" {', '.join(_HIDDEN)}. Choose another place."
        )
    return State(folder)


def called(state: State) -> str:
    """What a person calls a cluster in ``NAME=...``."""
    return state.name if state.folder.parent == states() else str(state.folder)


def check() -> None:
    """See that this machine can run a cluster.

    Raises:
        ClusterError: It cannot; the message says what is missing.
    """
    reasons = [why for name in tiers.TIERS["cluster"] if (why := tiers.missing(name))]
    if reasons:
        raise cache.ClusterError(f"A cluster cannot run here: {'; '.join(reasons)}.")
    builds.programs()


def start(
    state: State, *, owner: int | None = None, say: Callable[[str], None] | None = None
) -> Cluster:
    """Start a cluster and wait until it can be used.

    Args:
        state: A folder that is not there yet.
        owner: The pid of the process that it ends with; None for one that stays.
        say: Told each step's line.

    Raises:
        ClusterError: It cannot start, or did not; the message has the reason.
    """
    check()
    sweep()
    if state.folder.exists():
        raise cache.ClusterError(
            f"There is a cluster in {state.folder} already: end it first with make cluster-down"
            f" NAME={called(state)}, or start another with NAME=..."
        )
    archives = [images.build(image) for image in images.BUILTIN]
    try:
        _prepare(state, archives)
        process = _spawn(state, owner)
        _wait(state, process, say or (lambda _line: None))
    except BaseException:
        stop(state)
        raise
    return Cluster(state)


def _prepare(state: State, archives: list[Path]) -> None:
    state.folder.mkdir(parents=True, mode=0o700)
    state.logs.mkdir()
    pki.write(state.pki)
    configuration.write(state, cgroups.group(state.word))
    cgroups.make(state.word)
    state.layout.write_text(json.dumps(DEFAULT_LAYOUT, indent=1), encoding="utf-8")
    stages = sorted(builds.programs()["kwok-stages"].iterdir())
    texts = [path.read_text(encoding="utf-8") for path in stages]
    (state.etc / "kwok.yaml").write_text("\n---\n".join(texts), encoding="utf-8")
    state.images.mkdir()
    for archive in archives:
        (state.images / archive.name).symlink_to(archive)
    state.bin.mkdir()
    for name, program in builds.programs().items():
        if program.is_file():
            (state.bin / name).symlink_to(program)


def _spawn(state: State, owner: int | None) -> psutil.Process:
    """The outer process; what is inside dies with it."""
    descriptor = -1 if owner is None else os.pidfd_open(owner)
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command += ["--propagation=private", f"--wd={REPOSITORY}"]
    command += [sys.executable, "-m", "tests.cluster.inside", str(state.folder), str(descriptor)]
    log = str(state.logs / "cluster.log")
    try:
        if owner is not None:
            os.set_inheritable(descriptor, True)
        # Not subprocess, whose objects want to outlive what they started.
        outer = os.posix_spawnp(
            command[0],
            command,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
    finally:
        if owner is not None:
            os.close(descriptor)
    process = psutil.Process(outer)
    first = _first_inside(process)
    record = {"outer": outer, "first": first, "begun": process.create_time()}
    state.record.write_text(json.dumps(record), encoding="utf-8")
    return process


def _first_inside(process: psutil.Process) -> int:
    while not _over(process):
        if found := process.children():
            return found[0].pid
        time.sleep(0.01)
    raise cache.ClusterError(
        "A cluster needs new namespaces, which this machine refuses (unshare)."
    )


def _over(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _wait(state: State, process: psutil.Process, say: Callable[[str], None]) -> None:
    deadline = time.monotonic() + START_PATIENCE
    with (state.logs / "cluster.log").open(encoding="utf-8", errors="replace") as log:
        while True:
            ready, over = state.ready.exists(), _over(process)
            for line in log.read().splitlines():
                say(line)
            if ready:
                return
            if over or time.monotonic() > deadline:
                why = "ended" if over else f"was not ready within {START_PATIENCE:.0f} seconds"
                log.seek(0)
                raise cache.ClusterError(f"The cluster {why}:\n{log.read()[-4000:]}")
            time.sleep(0.1)


def find(state: State) -> Cluster:
    """The running cluster of a state folder.

    Raises:
        ClusterError: None runs there.
    """
    if not alive(state):
        raise cache.ClusterError(
            f"No cluster runs in {state.folder}: start it with make cluster-up"
            f" NAME={called(state)}."
        )
    return Cluster(state)


def left(state: State) -> bool:
    """Whether a cluster that was killed has left its folder; any other folder is none's."""
    return state.record.exists() or (state.folder.exists() and state.folder.parent == states())


def alive(state: State) -> bool:
    """Whether the cluster of a state folder runs."""
    return _outer(state) is not None


def _outer(state: State) -> psutil.Process | None:
    try:
        record = json.loads(state.record.read_text(encoding="utf-8"))
        process = psutil.Process(record["outer"])
        same = process.create_time() == record["begun"]
    except (OSError, ValueError, psutil.NoSuchProcess):
        return None
    return process if same and not _over(process) else None


def stop(state: State) -> None:
    """End a cluster and remove what it left: its folder and its control groups."""
    outer = _outer(state)
    if outer is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(outer.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(outer.pid, 0)  # when this process has started it
        first = json.loads(state.record.read_text(encoding="utf-8"))["first"]
        deadline = time.monotonic() + STOP_PATIENCE
        # The first process inside is the last to go.
        while psutil.pid_exists(first) and time.monotonic() < deadline:
            time.sleep(0.05)
    _remove(state)


def _remove(state: State) -> None:
    cgroups.remove(state.word)
    shutil.rmtree(state.folder, ignore_errors=True)


def sweep() -> None:
    """Remove what clusters left that were killed."""
    for folder in states().iterdir():
        age = time.time() - folder.stat().st_mtime
        if folder.is_dir():
            # One without a record is being started, or its start was killed long ago.
            state = State(folder)
            if not alive(state) and (state.record.exists() or age > START_PATIENCE):
                _remove(state)
        elif age > _DAY:
            folder.unlink(missing_ok=True)  # of a test run that was killed


@contextlib.contextmanager
def shared(name: str, owner: int) -> Iterator[Cluster]:
    """One cluster for several processes of a test run; the last to leave ends it.

    Args:
        name: The run's.
        owner: The process that outlives the others; the cluster is gone when it is.
    """
    state = State(states() / name)
    users = states() / f".{name}.users"
    with cache.lock(states() / f".{name}.lock"):
        cluster = find(state) if alive(state) else start(state, owner=owner)
        _count(users, 1)
    try:
        yield cluster
    finally:
        with cache.lock(states() / f".{name}.lock"):
            if _count(users, -1) <= 0:
                stop(state)
                users.unlink()
                (states() / f".{name}.lock").unlink()


def _count(path: Path, change: int) -> int:
    before = int(path.read_text(encoding="ascii")) if path.exists() else 0
    path.write_text(str(before + change), encoding="ascii")
    return before + change
