"""A real PostgreSQL for the tests, in a temporary folder, reached by a socket in that folder.

It needs no port, runs as ``postgres`` when the tests run as root (PostgreSQL refuses root), and is
gone with the tests however they end: a guard reads a pipe that only the tests' process holds open,
and at its end stops the server and removes the folder.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.support import tiers

_GUARD = """
cat > /dev/null
if [ -f "$1/data/postmaster.pid" ]; then
    kill -QUIT "$(head -n 1 "$1/data/postmaster.pid")" && sleep 0.2
fi
rm -rf "$1"
"""


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
        """Stop the server at once, as a crash would."""
        self._run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(self._data))

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
