"""What the crash test does to PostgreSQL is what it says, and leaves a server that works."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.support import tiers
from tests.support.postgres import PostgresServer

pytestmark = pytest.mark.component


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    tiers.need("postgresql", "setpriv")
    made = PostgresServer()
    yield made
    made.close()


def test_what_is_killed_is_gone_and_what_was_committed_is_not(server: PostgresServer) -> None:
    url = server.new_database()
    first = server.postmaster()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (at text)")
        connection.execute("INSERT INTO kept VALUES ('before the backend')")
        ((backend, does),) = server.backends(url)
        assert (backend.pid, does) == (connection.info.backend_pid, "idle")
        connection.execute("BEGIN")
        connection.execute("INSERT INTO kept VALUES ('never committed')")
        assert [does for _, does in server.backends(url)] == ["idle in transaction"]

        server.kill_backend(backend)

        with pytest.raises(psycopg.OperationalError):
            connection.execute("COMMIT")
    while not server.answers():
        pass
    assert server.postmaster() == first
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO kept VALUES ('before the postmaster')")
        others = [one for one, _ in server.backends(url)]

        server.kill_postmaster()

    assert not first.is_running()
    assert not any(one.is_running() for one in others)
    assert not server.answers()
    server.start()
    assert server.postmaster() != first
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT at FROM kept ORDER BY at").fetchall()
    assert found == [("before the backend",), ("before the postmaster",)]
    assert "shutdown request" not in server.said()
