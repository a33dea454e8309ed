"""Run a command that dies with the process that started it.

Executed as a script (``python -I -S leash.py PARENT COMMAND...``): asks the kernel to kill this
process when PARENT dies, and becomes COMMAND. Doing it here rather than between fork and exec
keeps Python code out of a forked copy of a process that has threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def run(parent: int, command: list[str]) -> None:
    """Become ``command``, on the leash of ``parent``."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit(0)  # the parent died before the kernel knew whom to watch
    os.execv(command[0], command)  # noqa: S606  # a list of arguments, and no shell


if __name__ == "__main__":
    run(int(sys.argv[1]), sys.argv[2:])
