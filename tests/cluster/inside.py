"""The first process inside a cluster's namespaces: ``python -m tests.cluster.inside STATE OWNER``.

Makes the island, starts the components, says when the cluster is ready, and stays. When it ends,
however it does, the kernel ends everything else in there. OWNER is the number of a process
descriptor it was given: when that process is gone, so is the cluster; -1 when nobody owns it.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from tests.cluster import island
from tests.cluster.bringup import Bringup
from tests.cluster.components import components
from tests.cluster.processes import Died, Processes
from tests.cluster.state import State


class _Ended(Exception):
    """Somebody wants the cluster to end."""


def main(state: State, owner: int) -> int:
    """Run the cluster until somebody ends it; the exit status."""
    signal.signal(signal.SIGTERM, _end)
    processes = Processes(state.logs, _environment(state))
    try:
        island.make(state)
        control = _listen(state.control)
        for line in Bringup(state, processes).steps():
            _say(line)
        state.ready.touch()
        _stay(state, processes, control, owner)
    except (Died, TimeoutError, subprocess.CalledProcessError) as error:
        _say(str(error))
        return 1
    except _Ended:
        return 0
    return 0


def _end(_number: int, _frame: FrameType | None) -> None:
    raise _Ended


def _environment(state: State) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    path = f"{state.bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {**kept, "PATH": path, "TMPDIR": "/run"}


def _listen(path: Path) -> socket.socket:
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    control.bind(str(path))
    control.listen()
    return control


def _stay(state: State, processes: Processes, control: socket.socket, owner: int) -> None:
    poll = select.poll()
    poll.register(control, select.POLLIN)
    if owner >= 0:
        poll.register(owner, select.POLLIN)
    while True:
        processes.reap()
        for descriptor, _event in poll.poll(200):
            if descriptor == owner:
                raise _Ended
            connection, _address = control.accept()
            with connection:
                connection.settimeout(5)
                _obey(state, processes, connection)


def _obey(state: State, processes: Processes, connection: socket.socket) -> None:
    """Do what a line says, such as ``list`` or ``stop NAME``; answer ``ok``, or why not."""
    try:
        words = connection.recv(200).decode("ascii", "replace").split()
    except TimeoutError:
        return
    known = {component.name: component for component in components(state)}
    match words:
        case ["list"]:
            answer = " ".join(processes.running) or "none"
        case ["stop", name] if name in processes.running:
            processes.stop(name)
            answer = "ok"
        case ["start", name] if name in known and name not in processes.running:
            processes.start(known[name])
            answer = "ok"
        case ["hang" | "wake" as verb, name] if name in processes.running:
            processes.send(name, signal.SIGSTOP if verb == "hang" else signal.SIGCONT)
            answer = "ok"
        case ["stop" | "start" | "hang" | "wake" as verb, name] if name in known:
            answer = f"{name} is {'running already' if verb == 'start' else 'not running'}"
        case _:
            answer = f"list, or stop, start, hang or wake one of {', '.join(known)}"
    connection.sendall(answer.encode())


def _say(line: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(State(Path(sys.argv[1])), int(sys.argv[2])))
