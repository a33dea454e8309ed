"""A real PostgreSQL for the tests, in a temporary folder, reached by a socket in that folder.

It needs no port, runs as ``postgres`` when the tests run as root (PostgreSQL refuses root), and is
gone with the tests however they end: a guard reads a pipe that only the tests' process holds open,
and at its end stops the server and removes the folder.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psutil
import pytest

from tests.support import tiers

# After a kill -9 the number in the file may be another process's by now: a server's own folder is
# where it works.
_GUARD = """
cat > /dev/null
if [ -f "$1/data/postmaster.pid" ]; then
    pid="$(head -n 1 "$1/data/postmaster.pid")"
    if [ "$(readlink "/proc/$pid/cwd")" = "$1/data" ]; then
        kill -QUIT "$pid" && sleep 0.2
    fi
fi
rm -rf "$1"
"""
_PATIENCE = 60
"""Seconds until what is killed must be gone."""


class PostgresServer:
    """One server; databases are made in it one by one."""

    def __init__(self, *, durable: bool = False) -> None:
        """Start a server.

        Args:
            durable: Let it wait for the disk, as a site's does; tests do not need that.
        """
        self._wait = "" if durable else "-F"
        initdb = tiers.find_initdb()
        assert initdb is not None
        self._bin = initdb.resolve().parent
        self._numbers = count(1)
        self.folder = Path(tempfile.mkdtemp(prefix="arcetri-pg-"))
        self._data = self.folder / "data"
        self._guard = subprocess.Popen(
            ["sh", "-c", _GUARD, "guard", str(self.folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        self._run("initdb", "-A", "trust", "-U", "postgres", "--no-sync", "-D", str(self._data))
        self.start()

    def start(self) -> None:
        """Start the server, and return when it answers."""
        settings = f"-k {self.folder} -h '' {self._wait}"
        log = str(self.folder / "log")
        self._run("pg_ctl", "start", "-w", "-D", str(self._data), "-l", log, "-o", settings)

    def stop(self) -> None:
        """Have the server stop at once, in the middle of whatever it does; it is not killed."""
        self._run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(self._data))

    def postmaster(self) -> psutil.Process:
        """The server's first process, the parent of all others."""
        found = psutil.Process(int((self._data / "postmaster.pid").read_text().split()[0]))
        assert Path(found.cwd()) == self._data, "another process has the number"
        return found

    def backends(self, url: str) -> list[tuple[psutil.Process, str]]:
        """The processes that serve a database's connections, and what each does: ``idle``."""
        name = url.partition("@/")[2].partition("?")[0]
        found = []
        for child in self.postmaster().children():
            with contextlib.suppress(psutil.NoSuchProcess):
                title = " ".join(child.cmdline())
                _, served, does = title.partition(f" postgres {name} [local]")
                if served:
                    found.append((child, does.strip()))
        return found

    def kill_backend(self, backend: psutil.Process) -> None:
        """``kill -9`` of one connection's process: the server starts itself again.

        Returns when no process of before is left but the first.
        """
        before = self.postmaster().children()
        backend.kill()
        _wait_gone(before)

    def kill_postmaster(self) -> None:
        """``kill -9`` of the server's first process; returns when the others have ended too.

        They end by themselves once they notice, and hold the shared memory until then: a server
        that is started before refuses.
        """
        postmaster = self.postmaster()
        others = postmaster.children()
        postmaster.kill()
        _wait_gone([postmaster, *others])

    def answers(self) -> bool:
        """Whether it can be asked now."""
        try:
            self._run("psql", "-qX", "-h", str(self.folder), "-U", "postgres", "-c", "SELECT 1")
        except AssertionError:
            return False
        return True

    def said(self) -> str:
        """The server's log."""
        return (self.folder / "log").read_text(errors="replace")

    def url(self, database: str = "postgres") -> str:
        """Where a database is reached."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def new_database(self, like: str | None = None) -> str:
        """Make a database and return its URL: empty, or a copy of another that nobody uses."""
        name = f"test_{next(self._numbers)}"
        statement = f"CREATE DATABASE {name}"
        if like is not None:
            statement += f" TEMPLATE {like.partition('@/')[2].partition('?')[0]}"
        self._run("psql", "-qX", "-h", str(self.folder), "-U", "postgres", "-c", statement)
        return self.url(name)

    def close(self) -> None:
        """Let the guard stop the server and remove the folder."""
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait(timeout=30)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._bin / program), *arguments]
        if os.geteuid() == 0:
            setpriv = shutil.which("setpriv")
            assert setpriv is not None
            as_postgres = ["--reuid=postgres", "--regid=postgres", "--init-groups"]
            command = [setpriv, *as_postgres, *command]
        # Not a pipe: the server inherits its starter's output and would keep a pipe open.
        with tempfile.TemporaryFile() as output:
            result = subprocess.run(
                command,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
            output.seek(0)
            assert result.returncode == 0, output.read().decode(errors="replace")


def _wait_gone(processes: list[psutil.Process]) -> None:
    """Wait until their numbers are free: a server goes by the number in its file at its start."""
    until = time.monotonic() + _PATIENCE
    while left := [one for one in processes if one.is_running()]:
        assert time.monotonic() < until, f"they do not end, or nobody waits for them: {left}"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The session's PostgreSQL; the test is skipped where there is none."""
    tiers.need("postgresql", "setpriv")
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """An empty database of the test's own."""
    return postgres_server.new_database()
