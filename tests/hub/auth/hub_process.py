"""A real JupyterHub in a process of its own, for the tests of the login."""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.support.iam import Browser, DevIam

CONFIG = Path(__file__).parent / "hub_config.py"
ROOT = Path(__file__).parents[3]
ALLOWED = ["/arcetri/cms", "/arcetri/virgo", "/arcetri/students", "/arcetri/admins"]
ADMINS = ["/arcetri/admins"]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class TestHub:
    """The hub: started, watched through its pages, its API and its log."""

    __test__ = False

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / "hub.log"
        self.token = secrets.token_hex(16)
        self.crypt_key = secrets.token_hex(32)
        self._process: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client(
            base_url=f"{self.url}/hub/",
            headers={"Authorization": f"token {self.token}"},
            timeout=60,
            trust_env=False,
        )

    def configure(self, iam: DevIam, **traits: object) -> None:
        """Write what the hub reads at its start."""
        settings = {
            "url": self.url,
            "token": self.token,
            "issuer": iam.issuer,
            "client_id": iam.client_id,
            "client_secret_file": str(iam.secret_file),
            "callback": callback(self.url),
            "traits": {"refresh_reuse": 0.0, **traits},
        }
        (self.folder / "hub.json").write_text(json.dumps(settings))
        self.catalog(ALLOWED, ADMINS)

    def catalog(self, allowed: list[str], admins: list[str]) -> None:
        """Change which groups are allowed in, and which administer; no restart is needed."""
        new = self.folder / "groups.new"
        new.write_text(json.dumps({"allowed": allowed, "admins": admins}))
        new.replace(self.folder / "groups.json")

    def start(self) -> None:
        """Start the hub and wait until it answers."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
            "JUPYTERHUB_CRYPT_KEY": self.crypt_key,
            "TEST_HUB_FOLDER": str(self.folder),
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jupyterhub", "-f", str(CONFIG)],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent,
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self.log.read_text()
            try:
                if self.http.get("health").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError(f"the hub did not start:\n{self.log.read_text()}")

    def stop(self, *, kill: bool = False) -> None:
        """Stop it, with ``kill`` at once."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)

    # What is seen of it

    def user(self, name: str) -> dict[str, Any]:
        """JupyterHub's model of a user, with ``auth_state``."""
        answer = self.http.get(f"api/users/{name}")
        assert answer.status_code == 200, answer.text
        model: dict[str, Any] = answer.json()
        return model

    def fresh(self, name: str, times: int = 1) -> list[dict[str, Any]]:
        """What the spawner's gate is told, ``times`` times at once."""
        answer = self.http.get("test/fresh", params={"user": name, "times": times})
        assert answer.status_code == 200, answer.text
        answers: list[dict[str, Any]] = answer.json()["answers"]
        return answers

    def known(self, name: str) -> dict[str, Any]:
        """What is known without asking."""
        answer: dict[str, Any] = self.http.get("test/known", params={"user": name}).json()
        known: dict[str, Any] = answer["answers"][0]
        return known

    def start_server(self, name: str, token: str | None = None) -> httpx.Response:
        """Start a session by REST, as a service or with a person's own token."""
        headers = {"Authorization": f"token {token}"} if token else {}
        return self.http.post(f"api/users/{name}/server", headers=headers)

    def seen(self, kind: str) -> list[Any]:
        """What the hub's configuration noted: ``start`` or ``answer``."""
        path = self.folder / "seen.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [data for what, data in map(json.loads, lines) if what == kind]


class HubBrowser(Browser):
    """A browser that goes to the hub and through IAM's login."""

    def __init__(self, hub: TestHub, iam: DevIam) -> None:
        super().__init__()
        self.hub = hub
        self.iam = iam

    def page(self, path: str) -> httpx.Response:
        """Open a page of the hub, following its redirects on the hub."""
        return self.get(f"{self.hub.url}/hub/{path}")

    def begin(self) -> str:
        """Press the login button; returns IAM's address."""
        answer = self.http.get(f"{self.hub.url}/hub/oauth_login")
        assert answer.is_redirect, answer.text
        return answer.headers["Location"]

    def back(self, name: str) -> str:
        """Log in at IAM; returns the address IAM sends the browser to, not opened yet."""
        return self.sign_in(self.begin(), name, self.iam.password(name))

    def login(self, name: str) -> httpx.Response:
        """Log in, and return what the hub answers to IAM's redirect."""
        return self.http.get(self.back(name))


def callback(url: str) -> str:
    return f"{url}/hub/oauth_callback"


def query(url: str) -> str:
    return urlsplit(url).query


@contextmanager
def running(folder: Path, iam: DevIam, port: int, **traits: object) -> Iterator[TestHub]:
    """A hub over ``iam``, which must know the callback of ``port``."""
    folder.mkdir(parents=True, exist_ok=True)
    hub = TestHub(folder, port)
    try:
        hub.configure(iam, **traits)
        hub.start()
        yield hub
    finally:
        hub.stop()
        hub.http.close()
