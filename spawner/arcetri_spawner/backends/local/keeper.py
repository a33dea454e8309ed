"""The first process of every session: starts the server, and lets nothing of it survive.

Run by path, as ``python -I -S keeper.py``, with the standard library alone, so that it is small and
quick and no user's module is ever imported. It waits for its orders on standard input: a hub that
dies before it has recorded the session never sends them, and the keeper goes away. It is the
"subreaper" of all that the server starts, so that kernels and terminals stay its children however
they detach themselves; when the server ends, it kills what is left, writes how it ended, and ends.

It belongs to the account of the hub even where the server runs under an account of its own.
"""

# ruff: noqa: PTH100, PTH105, PTH118, PTH120, PTH123, PTH208, S606 - pathlib would double the time to start, and exec is what this is for
from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any, NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

_CHUNK = 65536


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl failed")


class Log:
    """A log of bounded size: the file, and the one before it."""

    def __init__(self, path: str, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._file = self._open()

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, data: bytes) -> None:
        """Append; what a full disk refuses is lost, the server goes on."""
        with contextlib.suppress(OSError):
            if os.fstat(self._file).st_size + len(data) > self._limit:
                os.replace(self._path, self._path + ".1")
                os.close(self._file)
                self._file = self._open()
            os.write(self._file, data)


def _become(orders: dict[str, Any], keeper: int, output: int) -> NoReturn:
    """In the forked child: turn into the server. Never returns, and never runs Python's exit."""
    try:
        os.setpgid(0, 0)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        if orders.get("room") is not None:
            _loaded("room.py").enter(orders["room"])
        account = orders.get("account")
        if account is not None:
            os.setgroups(account["groups"])
            os.setresgid(account["gid"], account["gid"], account["gid"])
            os.setresuid(account["uid"], account["uid"], account["uid"])
            _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        # After the change of account, which clears it.
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:
            os._exit(1)
        os.umask(orders["umask"])
        os.chdir(orders["cwd"])
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        argv = orders["argv"]
        os.execve(argv[0], argv, orders["env"])
    except BaseException as error:  # noqa: BLE001 - a forked child must not unwind into the keeper
        with contextlib.suppress(OSError):
            os.write(2, f"the server could not be started: {error}\n".encode())
    os._exit(127)


def _loaded(name: str) -> Any:
    """A file beside this one as a module; the folder itself is not searched for modules."""
    from importlib.machinery import SourceFileLoader

    module = type(sys)(name)
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
    SourceFileLoader(name, path).exec_module(module)
    return module


def _children() -> list[int]:
    """Every living descendant of this process."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                text = file.read()
        except OSError:
            continue
        fields = text[text.rindex(b")") + 2 :].split(None, 2)
        if fields[0] not in b"ZXx":
            parents.setdefault(int(fields[1]), []).append(int(name))
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        below = parents.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


class Keeper:
    """One server and all that it starts."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self._log = Log(orders["log"], orders["log_limit"])
        self._exit_file: str = orders["exit_file"]
        self._status: int | None = None
        self._alarm, wakeup = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._ask_to_end)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._server = 0
        self._orders = orders
        self._port: int | None = orders.get("port")
        self._asked = False
        # The writing end stays open here: another server may have to be started on it.
        self._output, self._printed = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._output, False)
        self._start()

    def _runs(self) -> bool:
        return self._server != 0 and self._status is None

    def _start(self) -> None:
        keeper = os.getpid()
        self._status = None
        self._server = os.fork()
        if self._server == 0:
            _become(self._orders, keeper, self._printed)

    def _start_again(self) -> bool:
        """Where the port was taken by somebody else meanwhile, try the other one, once."""
        other = self._orders.pop("other", None)
        if not other or self._port is None or self._status == 0 or self._asked:
            return False
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self._port))
                return False
            except OSError:
                pass
        self._orders["env"].update(other["env"])
        self._port = other["port"]
        self._start()
        return True

    def _ask_to_end(self, *_: object) -> None:
        self._asked = True
        if self._runs():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._server, signal.SIGTERM)

    def run(self) -> int:
        """Serve until the server and all its descendants are gone; return its exit status."""
        poller = select.poll()
        poller.register(self._alarm, select.POLLIN)
        poller.register(self._output, select.POLLIN)
        self._reap()
        while self._status is None:
            for descriptor, _ in poller.poll():
                if descriptor == self._alarm:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._alarm, _CHUNK)
                else:
                    self._copy()
            self._reap()
            if not self._runs() and self._start_again():
                self._reap()
        ended = self._now()
        self._kill_the_rest()
        while self._copy():
            pass
        self._write_exit(ended)
        return self._status

    def _copy(self) -> bool:
        """Move what was printed into the log; False when there is nothing more for now."""
        try:
            data = os.read(self._output, _CHUNK)
        except BlockingIOError:
            return False
        if data:
            self._log.write(data)
        return bool(data)

    def _reap(self) -> bool:
        """Take away children that have ended; False when there is none left at all."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._server:
                self._status = os.waitstatus_to_exitcode(status)

    def _kill_the_rest(self) -> None:
        pause = 0.002
        while self._reap():
            for pid in _children():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(pause)
            pause = min(pause * 2, 0.2)

    @staticmethod
    def _now() -> dict[str, Any]:
        return {
            "at": time.time(),
            "boottime_ms": time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000,
        }

    def _write_exit(self, ended: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            temporary = self._exit_file + ".new"
            with open(temporary, "w", encoding="utf-8") as file:
                json.dump({"code": self._status, "server": ended, "all": self._now()}, file)
            os.replace(temporary, self._exit_file)


def main() -> int:
    """Wait for orders, then keep the session."""
    os.chdir("/")
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):
                # Nothing of the hub's reaches a session, not even what it left open by mistake.
                os.close(int(name))
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        orders = json.loads(sys.stdin.buffer.read())
    except ValueError:
        # The hub died, or thought better of it, before the session was recorded.
        return 0
    status = Keeper(orders).run()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
