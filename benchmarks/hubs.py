"""The two hubs that are compared: ours as ``arcetri up`` runs it, and the stock one beside it."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from arcetri_hub.up import ports
from tests.support import platform as ours_support
from tests.support.iam import DevIam

START_PATIENCE = 90.0
SESSION_PATIENCE = 240.0
GROUP = "/arcetri/cms"
_SCHEDULER_CLOCK = 2
PASSWORD = "demo"  # noqa: S105 - what the development IAM gives people who are made for a test


@dataclass(slots=True)
class Hub:
    """A running hub, and people who have logged in to it."""

    name: str
    url: str
    pid: int
    """The hub's own process."""
    proxy_pid: int
    tokens: dict[str, str]
    options: dict[str, str]
    """What a start asks for."""
    state: Path | None = None
    """Our hub's state folder."""

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What our hub's database answers."""
        assert self.state is not None  # noqa: S101 - only ours is asked
        with contextlib.closing(sqlite3.connect(self.state / "arcetri.sqlite")) as database:
            return database.execute(query, values).fetchall()

    def cpu(self) -> float:
        """CPU seconds the hub's process has used so far."""
        # The process's own CPU clock (clock_getcpuclockid(3)): /proc counts in steps of 10 ms,
        # a tenth of what is measured.
        return time.clock_gettime((~self.pid << 3) | _SCHEDULER_CLOCK)

    def memory(self) -> dict[str, int]:
        """Proportional set size of hub and proxy, in bytes."""
        return {
            name: int(psutil.Process(pid).memory_full_info().pss)
            for name, pid in (("hub", self.pid), ("proxy", self.proxy_pid))
        }

    def client(self, user: str) -> httpx.Client:
        """A client of the REST API with a person's token; close it."""
        return httpx.Client(
            base_url=f"{self.url}/hub/api",
            headers={"Authorization": f"token {self.tokens[user]}"},
            timeout=SESSION_PATIENCE,
            trust_env=False,
        )

    def ask(self, client: httpx.Client, user: str) -> None:
        """Ask for a server.

        Raises:
            httpx.HTTPStatusError: The hub refused.
        """
        client.post(f"/users/{user}/server", json=self.options).raise_for_status()

    def wait_ready(self, client: httpx.Client, user: str) -> None:
        """Follow the progress of a start, as JupyterHub's own page does, until it is ready.

        Raises:
            RuntimeError: It failed.
        """
        with client.stream("GET", f"/users/{user}/server/progress") as answer:
            for line in answer.iter_lines():
                if not line.startswith("data:"):
                    continue
                event = json.loads(line.removeprefix("data:"))
                if event.get("ready"):
                    return
                if event.get("failed"):
                    raise RuntimeError(f"{self.name}: {user}'s server failed: {event}")
        raise RuntimeError(f"{self.name}: {user}'s progress ended without a server")

    def stop(self, client: httpx.Client, user: str) -> None:
        """Stop a server and wait until it is gone."""
        client.delete(f"/users/{user}/server").raise_for_status()
        deadline = time.monotonic() + SESSION_PATIENCE
        while client.get(f"/users/{user}").json()["servers"]:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name}: {user}'s server does not stop")
            time.sleep(0.1)

    def start_once(self, user: str) -> tuple[float, float]:
        """Start and stop one server; seconds until it was ready, and the hub's CPU seconds."""
        with self.client(user) as client:
            cpu = self.cpu()
            begin = time.monotonic()
            self.ask(client, user)
            self.wait_ready(client, user)
            elapsed = time.monotonic() - begin
            spent = self.cpu() - cpu
            self.stop(client, user)
        return elapsed, spent


def token_of(url: str, name: str, password: str) -> str:
    """Log somebody in as a browser would, and make them an API token."""
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as browser:
        ours_support.login(browser, url, name, password)
        answer = browser.post(
            f"/hub/api/users/{name}/tokens",
            json={"note": "benchmark"},
            headers=ours_support.xsrf(browser),
        )
        answer.raise_for_status()
        return str(answer.json()["token"])


@contextlib.contextmanager
def ours(folder: Path, profiles: Path, users: Sequence[str]) -> Iterator[Hub]:
    """``arcetri up`` with its defaults, on a catalog of the benchmark's."""
    with ours_support.running(folder / "ours", "--profiles", str(profiles)) as platform:
        settings = json.loads((platform.state / "settings.json").read_text(encoding="utf-8"))
        names = enroll(settings["iam"]["issuer"], users)
        tokens = {name: token_of(platform.url, name, word) for name, word in names.items()}
        yield Hub(
            name="arcetri",
            url=platform.url,
            pid=platform.child("jupyterhub"),
            proxy_pid=platform.child("arcetri_hub.proxy"),
            tokens=tokens,
            options={"flavor": "gpu", "environment": "python", "size": "small"},
        )


@contextlib.contextmanager
def stock(folder: Path, users: Sequence[str], *, patient: bool = False) -> Iterator[Hub]:
    """Stock JupyterHub with the same login, proxy and interpreter."""
    home = folder / "stock"
    (home / "homes").mkdir(parents=True)
    port, hub_port, proxy_port = (ports.choose() for _ in range(3))
    url = f"http://127.0.0.1:{port}"
    with DevIam.started(home, [f"{url}/hub/oauth_callback"]) as iam:
        said = {
            "url": url,
            "hub_port": hub_port,
            "proxy_port": proxy_port,
            "issuer": iam.issuer,
            "client_id": iam.client_id,
            "client_secret_file": str(iam.secret_file),
            "groups": [GROUP],
            "patient": patient,
        }
        (home / "said.json").write_text(json.dumps(said))
        config = Path(__file__).with_name("stock_config.py")
        with (home / "hub.log").open("w") as log:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and file
                [sys.executable, "-m", "jupyterhub", "-f", str(config)],
                env={
                    **os.environ,
                    # Where jupyterhub-singleuser is, as in an activated environment.
                    "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
                    "STOCK_FOLDER": str(home),
                    "JUPYTERHUB_CRYPT_KEY": os.urandom(32).hex(),
                },
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            _wait_for(f"{url}/hub/login", process, home / "hub.log")
            names = enroll(iam.issuer, users)
            yield Hub(
                name="stock JupyterHub",
                url=url,
                pid=process.pid,
                proxy_pid=int((home / "proxy.pid").read_text()),
                tokens={name: token_of(url, name, word) for name, word in names.items()},
                options={},
            )
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def enroll(
    issuer: str, users: Sequence[str], groups: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Make people in a development IAM; their passwords by name.

    Args:
        issuer: The IAM's address.
        users: Their names.
        groups: The group of each; one and the same where it is left out.
    """
    with httpx.Client(base_url=issuer, timeout=30, trust_env=False) as client:
        for name in users:
            client.post(
                "dev/api/users",
                json={"username": name, "groups": [groups[name] if groups else GROUP]},
            ).raise_for_status()
    return dict.fromkeys(users, PASSWORD)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=5, trust_env=False).status_code == httpx.codes.OK:
                return
        if process.poll() is not None:
            break
        time.sleep(0.2)
    raise RuntimeError(f"the reference hub did not start:\n{log.read_text()[-4000:]}")
