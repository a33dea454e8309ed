"""A whole platform for a test: ``arcetri up`` in a process, and a person's way to log in."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit
from uuid import UUID

import httpx
import psutil
import pytest

from arcetri_hub.up import ports
from arcetri_hub.up.statefolder import MARKER
from arcetri_spawner.backends.local.procs import sessions_of

START_PATIENCE = 180.0
STOP_PATIENCE = 90.0


@dataclass(slots=True)
class Platform:
    """A running ``arcetri up``."""

    url: str
    users: list[dict[str, Any]]
    simulated: bool
    pid: int
    """The supervisor's."""
    state: Path
    process: subprocess.Popen[str]
    stderr: Path
    """What the supervisor said to its terminal."""

    def password(self, name: str) -> str:
        """A demonstration user's password."""
        return next(str(u["password"]) for u in self.users if u["name"] == name)

    @contextlib.contextmanager
    def login(self, name: str) -> Iterator[httpx.Client]:
        """A client that has logged ``name`` in through the development IAM, as a browser would."""
        with httpx.Client(base_url=self.url, timeout=60) as client:
            login(client, self.url, name, self.password(name))
            yield client

    def token(self, name: str) -> str:
        """A new API token of a person's own, made after logging in."""
        with self.login(name) as client:
            answer = client.post(
                f"/hub/api/users/{name}/tokens", json={"note": "test"}, headers=xsrf(client)
            )
            answer.raise_for_status()
            return str(answer.json()["token"])

    def api(self, name: str) -> httpx.Client:
        """A client of the hub's REST API with a person's own token; use it in a ``with``."""
        headers = {"Authorization": f"token {self.token(name)}"}
        return httpx.Client(base_url=f"{self.url}/hub/api", headers=headers, timeout=60)

    def start_session(self, name: str, server_name: str = "", **options: str) -> UUID:
        """Start a session by REST, wait until it is ready, and return its id.

        Raises:
            AssertionError: It was refused or failed; the message has the hub's log.
        """
        path = f"/users/{name}/servers/{server_name}" if server_name else f"/users/{name}/server"
        with self.api(name) as api:
            answer = api.post(path, json=options)
            assert answer.status_code in (201, 202), answer.text
            until(
                lambda: not self.server(api, name, server_name).get("pending"),
                "the session is started",
            )
            server = self.server(api, name, server_name)
        assert server.get("ready"), self.logs()
        return next(
            UUID(row[0])
            for row in self.rows(
                "select id from arcetri_request where username = ? and server_name = ?"
                " and state != 'ended'",
                name,
                server_name,
            )
        )

    @staticmethod
    def server(api: httpx.Client, name: str, server_name: str = "") -> dict[str, Any]:
        """What the hub says of a server; empty when there is none."""
        answer = api.get(f"/users/{name}")
        answer.raise_for_status()
        return dict(answer.json()["servers"].get(server_name) or {})

    def sessions(self) -> dict[UUID, list[int]]:
        """The processes of each session of this state folder that runs now."""
        marker = json.loads((self.state / MARKER).read_text(encoding="utf-8"))
        found = sessions_of(marker["instance"])
        return {key: sorted(stat.pid for stat in stats) for key, stats in found.items()}

    def servers(self) -> dict[UUID, int]:
        """The notebook server's pid of each session that runs now."""
        pids = {UUID(row[0]): row[1] for row in self.rows("select id, pid from arcetri_session")}
        return {key: pids[key] for key, running in self.sessions().items() if pids[key] in running}

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What the platform's database has."""
        with contextlib.closing(sqlite3.connect(self.state / "arcetri.sqlite")) as database:
            return database.execute(query, values).fetchall()

    def leases(self) -> list[str]:
        """The leased devices."""
        return [str(row[0]) for row in self.rows("select device_uuid from arcetri_lease")]

    def child(self, word: str) -> int:
        """The pid of the supervisor's child whose command line contains ``word``."""
        for child in psutil.Process(self.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended while one looked
                if any(word in part for part in child.cmdline()):
                    return child.pid
        raise LookupError(f"no child with {word!r}")

    def said(self) -> str:
        """Everything the supervisor has said to its terminal."""
        return self.stderr.read_text(encoding="utf-8")

    def logs(self) -> str:
        """Every part's log, for a failing test to show."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text(encoding='utf-8', errors='replace')}"
            for path in sorted((self.state / "logs").glob("*.log"))
        )

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Tell it to stop, and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(STOP_PATIENCE)

    def kill(self) -> None:
        """Kill everything but the sessions, at once."""
        with contextlib.suppress(psutil.NoSuchProcess):
            parts = psutil.Process(self.pid).children()
            os.kill(self.pid, signal.SIGKILL)
            psutil.wait_procs(parts, timeout=10)
        self.process.wait(10)


@contextlib.contextmanager
def running(
    state: Path,
    *options: str,
    port: int | None = None,
    env: dict[str, str] | None = None,
    python: str = sys.executable,
) -> Iterator[Platform]:
    """Start a platform in ``state`` and wait until it is ready; at the end nothing of it is left.

    Args:
        state: Its state folder.
        options: Further options of ``arcetri up``.
        port: Where it answers; None takes a free one.
        env: Added to its environment.
        python: The interpreter it runs on.

    Raises:
        AssertionError: It did not start; the message has what it said.
    """
    command = [python, "-m", "arcetri_hub", "up", "--json", "--state", str(state), *options]
    command += ["--port", str(port or ports.choose())]
    with _process(state, command, env) as (process, stderr):
        line = _first_line(process)
        assert line, f"arcetri up did not start:\n{stderr.read_text(encoding='utf-8')}"
        said = json.loads(line)
        yield Platform(
            url=said["url"],
            users=said["users"],
            simulated=said["simulated"],
            pid=said["pid"],
            state=state,
            process=process,
            stderr=stderr,
        )


@contextlib.contextmanager
def _process(
    state: Path, command: Sequence[str], env: dict[str, str] | None
) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    stderr = state.with_name(f"{state.name}.stderr")
    with stderr.open("w") as sink:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=sink,
            text=True,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    undertaker = subprocess.Popen(
        [sys.executable, "-m", "tests.support.undertaker", str(state), str(process.pid)],
        stdin=subprocess.PIPE,
        cwd=Path(__file__).parent.parent.parent,
    )
    try:
        yield process, stderr
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_PATIENCE)
        undertaker.communicate()
        process.wait(10)
        if process.stdout:
            process.stdout.close()


def _first_line(process: subprocess.Popen[str]) -> str:
    """The line it prints when it is ready; empty when it ends, or is ended for taking too long."""
    assert process.stdout is not None
    timer = threading.Timer(START_PATIENCE, process.kill)
    timer.start()
    try:
        return process.stdout.readline()
    finally:
        timer.cancel()


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """A platform of this test's own."""
    with running(tmp_path / "state") as started:
        yield started


@pytest.fixture(scope="module")
def shared_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One platform for a module's tests that do not disturb each other."""
    with running(tmp_path_factory.mktemp("platform") / "state") as started:
        yield started


def until(condition: Callable[[], object], what: str, patience: float = 120) -> None:
    """Wait until ``condition`` holds.

    Raises:
        AssertionError: It does not within ``patience`` seconds, a bound for a busy machine.
    """
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"not within {patience:.0f} seconds: {what}"
        time.sleep(0.1)


def xsrf(client: httpx.Client) -> dict[str, str]:
    """The header that a cookie-authenticated request to the hub needs."""
    cookies = [c for c in client.cookies.jar if c.name == "_xsrf" and c.path == "/hub/"]
    return {"X-XSRFToken": str(cookies[-1].value)} if cookies else {}


def login(client: httpx.Client, url: str, name: str, password: str) -> httpx.Response:
    """Log in through the development IAM's pages; the page one lands on.

    Raises:
        AssertionError: The IAM or the hub refused; the message has the page.
    """
    answer = client.get(f"{url}/hub/oauth_login", follow_redirects=True)
    for _page in range(4):
        if f"{answer.url.scheme}://{answer.url.netloc.decode()}" == url:
            break
        form = _form(answer)
        fields = {**form.fields, "username": name, "password": password}
        if "username" not in form.fields:
            fields = {**form.fields, **form.buttons}
        target = urljoin(str(answer.url), form.action)
        origin = f"{answer.url.scheme}://{answer.url.netloc.decode()}"
        answer = client.post(target, data=fields, headers={"Origin": origin}, follow_redirects=True)
    assert answer.status_code < 400, f"{answer.status_code} {answer.url}\n{answer.text}"
    return answer


@dataclass(slots=True)
class _Form:
    action: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    buttons: dict[str, str] = field(default_factory=dict)


class _FormParser(HTMLParser):
    """Reads the first form of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.form: _Form | None = None
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form" and self.form is None:
            self.form = _Form(action=values.get("action", ""))
            self._inside = True
        if not self._inside or self.form is None or not values.get("name"):
            return
        if tag == "input":
            self.form.fields[values["name"]] = values.get("value", "")
        if tag == "button" and not self.form.buttons:
            self.form.buttons[values["name"]] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False


def _form(answer: httpx.Response) -> _Form:
    parser = _FormParser()
    parser.feed(answer.text)
    assert parser.form is not None, f"no form at {answer.url}:\n{answer.text}"
    return parser.form


def listening(port: int) -> bool:
    """Whether something listens on a port of this machine."""
    return not ports.is_free("127.0.0.1", port)


def port_of(url: str) -> int:
    """The port an address names."""
    port = urlsplit(url).port
    assert port is not None
    return port
