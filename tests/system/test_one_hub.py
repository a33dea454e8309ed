"""Two hubs on one real PostgreSQL: the second serves nothing until the first has ended."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest

from arcetri_hub.settings import SETTINGS_VARIABLE, IamSettings, ProxySettings, Settings
from arcetri_hub.up import leash, ports
from arcetri_hub.up.prepare import DEMO_CATALOG
from tests.support.platform import until
from tests.support.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]

pytestmark = pytest.mark.component

CONFIG = DEMO_CATALOG.parent.parent / "jupyterhub_config.py"
WAITS = "another hub works with this database"


@dataclass(slots=True)
class Hub:
    """A hub on a state folder of its own, beside its proxy."""

    process: subprocess.Popen[bytes]
    health: str
    log: Path

    @property
    def answers(self) -> bool:
        try:
            return httpx.get(self.health, timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


@contextlib.contextmanager
def process(command: Sequence[str], log: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the tests, however they end."""
    with log.open("wb") as output:
        started = subprocess.Popen(
            [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **env},
        )
    try:
        yield started
    finally:
        started.kill()
        started.wait(10)


@contextlib.contextmanager
def hub(folder: Path, database_url: str) -> Iterator[Hub]:
    folder.mkdir(mode=0o700)
    front, api, own = ports.choose(), ports.choose(), ports.choose()
    files = {name: folder / name for name in ("proxy", "cookie", "crypt", "client")}
    for file in files.values():
        file.write_text(secrets.token_hex(32), encoding="utf-8")
        file.chmod(0o600)
    settings = Settings(
        state_dir=folder,
        instance_id=secrets.token_hex(8),
        profiles=DEMO_CATALOG,
        port=front,
        hub_port=own,
        database_url=database_url,
        # A hub starts without its IAM too, and nobody logs in here.
        iam=IamSettings(
            issuer="http://127.0.0.1:9/",
            client_id="hub",
            client_secret_file=files["client"],
            development=True,
        ),
        proxy=ProxySettings(api_url=f"http://127.0.0.1:{api}", token_file=files["proxy"]),
        cookie_secret_file=files["cookie"],
        crypt_key_file=files["crypt"],
    )
    (folder / "settings.json").write_text(settings.model_dump_json())
    proxy = [sys.executable, "-m", "arcetri_hub.proxy", "--port", str(front)]
    proxy += ["--api-port", str(api)]
    token = files["proxy"].read_text(encoding="utf-8")
    jupyterhub = [sys.executable, "-m", "jupyterhub", "-f", str(CONFIG)]
    told = {SETTINGS_VARIABLE: str(folder / "settings.json")}
    with (
        process(proxy, folder / "proxy.log", CONFIGPROXY_AUTH_TOKEN=token),
        process(jupyterhub, folder / "hub.log", **told) as started,
    ):
        yield Hub(started, f"http://127.0.0.1:{own}/hub/api/health", folder / "hub.log")


@pytest.fixture
def two(tmp_path: Path, postgres_url: str) -> Iterator[tuple[Hub, Hub]]:
    """A hub that serves, and one that waits for it to end."""
    with hub(tmp_path / "first", postgres_url) as first:
        until(lambda: first.answers, "the first answers", 60)
        with hub(tmp_path / "second", postgres_url) as second:
            until(lambda: WAITS in second.said, "the second says that it waits", 60)
            assert not second.answers
            assert first.answers
            yield first, second
            assert second.said.count(WAITS) == 1


def test_a_second_hub_takes_over_when_the_first_is_killed(two: tuple[Hub, Hub]) -> None:
    first, second = two

    first.process.send_signal(signal.SIGKILL)

    until(lambda: second.answers, "the second takes over", 60)


def test_a_hub_that_lost_the_database_to_another_ends(
    two: tuple[Hub, Hub], postgres_url: str
) -> None:
    first, second = two
    # It sleeps, as a machine may, so that it is not the one that connects again first.
    first.process.send_signal(signal.SIGSTOP)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        query = "SELECT DISTINCT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
        (holder,) = (row[0] for row in connection.execute(query).fetchall())
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", (holder,))

    until(lambda: second.answers, "the second takes over", 60)
    first.process.send_signal(signal.SIGCONT)
    until(lambda: first.process.poll() is not None, "the first ends by itself", 90)

    assert "another hub has taken the database over" in first.said
    assert second.answers
