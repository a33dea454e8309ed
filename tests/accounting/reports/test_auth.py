"""The login, tokens, scopes and groups of a real JupyterHub."""

from __future__ import annotations

import ctypes
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from jupyterhub.services.auth import HubOAuth

from arcetri_accounting.ledger.database import Database
from arcetri_accounting.reports.auth import READ, HubReaders
from arcetri_accounting.reports.factory import include
from tests.accounting.reports.world import ASTRO, CMS, NOW, PREFIX, at, fill, full

pytestmark = pytest.mark.component

CONFIG = Path(__file__).parent / "hub_config.py"
ROOT = Path(__file__).parents[3]
GROUPS = {
    CMS: {"users": ["alice", "bruno"]},
    "/lab/cms/leads": {"users": ["alice"]},
    "/lab/admins": {"users": ["dario"]},
}


@dataclass(frozen=True, slots=True)
class World:
    """A hub and the usage service beside it."""

    hub: str
    usage: str
    password: str
    token: str
    board_token: str
    process: subprocess.Popen[bytes]

    def admin(self, method: str, path: str, body: object = None) -> httpx.Response:
        """Ask the hub's REST API as one who may change people and groups."""
        headers = {"Authorization": f"token {self.token}"}
        with httpx.Client(headers=headers, timeout=60, trust_env=False) as http:
            return http.request(method, f"{self.hub}/hub/api/{path}", json=body)

    def token_of(self, name: str, *scopes: str) -> str:
        """A new token of a person, as they would make one."""
        self.admin("POST", f"users/{name}")
        body = {"scopes": list(scopes)} if scopes else {}
        answer = self.admin("POST", f"users/{name}/tokens", body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])

    def api(self, token: str, path: str = "report", **params: str) -> httpx.Response:
        """Ask the usage API with a token."""
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(headers=headers, timeout=60, trust_env=False) as http:
            return http.get(f"{self.usage}{PREFIX}api/v1/{path}", params=params)

    def browser(self) -> httpx.Client:
        """A browser that nobody has logged in with."""
        return httpx.Client(timeout=60, trust_env=False, follow_redirects=False)

    def go(self, http: httpx.Client, url: str, name: str = "") -> httpx.Response:
        """Follow redirects; where the hub asks who it is, log in with this name."""
        for _ in range(12):
            answer = http.get(url)
            if answer.is_redirect:
                url = str(answer.next_request.url) if answer.next_request else ""
                continue
            if "/hub/login" not in url or not name:
                return answer
            token = re.search(r'name="_xsrf" value="([^"]+)"', answer.text)
            assert token, answer.text
            fields = {"username": name, "password": self.password, "_xsrf": token[1]}
            answer = http.post(url, data=fields)
            assert answer.is_redirect, answer.text
            assert answer.next_request
            url = str(answer.next_request.url)
        raise AssertionError(f"redirected for ever, at last to {url}")


def _sockets() -> tuple[socket.socket, int, int]:
    ours = socket.socket()
    ours.bind(("127.0.0.1", 0))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        return ours, int(ours.getsockname()[1]), int(other.getsockname()[1])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("hub")
    listening, usage_port, hub_port = _sockets()
    usage, hub = f"http://127.0.0.1:{usage_port}", f"http://127.0.0.1:{hub_port}"
    service_token = secrets.token_hex(16)
    settings = {
        "url": hub,
        "password": secrets.token_hex(8),
        "token": secrets.token_hex(16),
        "board_token": secrets.token_hex(16),
        "service_token": service_token,
        "redirect": f"{usage}{PREFIX}oauth_callback",
        "groups": GROUPS,
    }
    (folder / "hub.json").write_text(json.dumps(settings))
    process = _hub(folder, hub)
    database = Database.open(f"sqlite:///{folder}/ledger.sqlite")
    fill(
        database,
        full("of-alice", "alice", at("2026-11-10T08:00"), 1, used=0.5),
        full("of-bruno", "bruno", at("2026-11-10T08:00"), 2, used=0.5),
        full("of-carla", "carla", at("2026-11-10T08:00"), 4, used=0.5, group=ASTRO),
    )
    app = FastAPI()
    readers = HubReaders(
        HubOAuth(
            base_url=PREFIX,
            api_url=f"{hub}/hub/api",
            api_token=service_token,
            oauth_client_id="service-usage",
            oauth_redirect_uri=settings["redirect"],
            hub_host=hub,
        ),
        PREFIX,
    )
    include(app, database, readers, PREFIX, clock=lambda: NOW)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none", http="h11"))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield World(
            hub=hub,
            usage=usage,
            password=str(settings["password"]),
            token=str(settings["token"]),
            board_token=str(settings["board_token"]),
            process=process,
        )
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()
        process.send_signal(signal.SIGKILL)
        process.wait(20)
        database.close()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _hub(folder: Path, url: str) -> subprocess.Popen[bytes]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "TEST_HUB_FOLDER": str(folder),
    }
    log = folder / "hub.log"
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterhub", "-f", str(CONFIG)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            preexec_fn=_die_with_parent,
        )
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(f"{url}/hub/health", trust_env=False).status_code == 200:
                return process
        except httpx.TransportError:
            time.sleep(0.1)
    process.kill()
    raise AssertionError(f"the hub did not start:\n{log.read_text()}")


def test_a_person_logs_in_and_comes_to_where_they_wanted(world: World) -> None:
    with world.browser() as http:
        wanted = f"{world.usage}{PREFIX}sessions?from=2026-11-01&to=2026-11-30&view=own"
        page = world.go(http, wanted, "bruno")
        assert str(page.url) == wanted
        assert page.status_code == 200
        assert "of-bruno" in page.text
        assert "of-alice" not in page.text
        cookie = next(one for one in http.cookies.jar if one.name == "service-usage")
        assert cookie.path == PREFIX
        assert cookie.has_nonstandard_attr("HttpOnly")
        assert [one.name for one in http.cookies.jar if "oauth-state" in one.name] == []
        assert http.get(f"{world.usage}{PREFIX}all").status_code == 403
        # Logged in, the API answers a person's own browser too.
        assert http.get(f"{world.usage}{PREFIX}api/v1/report").json()["view"] == "own"


def test_a_script_of_another_page_gets_nothing_with_the_browsers_cookie(world: World) -> None:
    with world.browser() as http:
        world.go(http, f"{world.usage}{PREFIX}", "bruno")
        for mode, destination in (
            ("cors", "empty"),
            ("same-origin", "empty"),
            ("no-cors", "script"),
            ("navigate", "iframe"),
        ):
            sent = {"Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": destination}
            answer = http.get(f"{world.usage}{PREFIX}api/v1/report", headers=sent)
            assert answer.status_code == 401, mode
            page = http.get(f"{world.usage}{PREFIX}", headers=sent)
            assert page.status_code == 302, mode
            assert "of-bruno" not in page.text
        shown = {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
        assert http.get(f"{world.usage}{PREFIX}chart.svg", headers=shown).status_code == 200
        assert http.get(f"{world.usage}{PREFIX}api/v1/report", headers=shown).status_code == 401


def test_leads_and_administrators_come_from_the_hubs_groups(world: World) -> None:
    with world.browser() as http:
        page = world.go(http, f"{world.usage}{PREFIX}group", "alice")
        assert page.status_code == 200
        assert "bruno" in page.text
        assert "carla" not in page.text
    with world.browser() as http:
        page = world.go(http, f"{world.usage}{PREFIX}all", "dario")
        assert page.status_code == 200
        assert "carla" in page.text


def test_what_a_token_reads_depends_on_its_scopes(world: World) -> None:
    own = world.api(world.token_of("alice"), by="user")
    assert own.status_code == 200, own.text
    assert [row["key"] for row in own.json()["rows"]] == ["alice"]
    narrow = world.api(world.token_of("alice", READ), by="user", group=CMS)
    assert [row["key"] for row in narrow.json()["rows"]] == ["bruno", "alice"]
    without = world.api(world.token_of("alice", "read:users:name!user=alice"))
    assert (without.status_code, without.json()["code"]) == (403, "scope_missing")
    everything = world.api(world.token_of("dario"), by="user")
    assert {row["key"] for row in everything.json()["rows"]} == {"alice", "bruno", "carla"}
    board = world.api(world.board_token, by="user")
    assert {row["key"] for row in board.json()["rows"]} == {"id-alice", "id-bruno", "id-carla"}


@pytest.mark.parametrize("token", ["", "nonsense", "0" * 32])
def test_a_token_that_the_hub_does_not_know_reads_nothing(world: World, token: str) -> None:
    answer = world.api(token or "-")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_service_without_the_scope_reads_nothing(world: World) -> None:
    assert world.api(world.token).status_code == 403


def test_a_group_that_is_taken_away_counts_within_seconds(world: World) -> None:
    token = world.token_of("fabio")
    added = world.admin("POST", "groups/%2Flab%2Fcms%2Fleads/users", {"users": ["fabio"]})
    assert added.status_code == 200, added.text
    assert world.api(token, view="group").status_code == 200
    gone = world.admin("DELETE", "groups/%2Flab%2Fcms%2Fleads/users", {"users": ["fabio"]})
    assert gone.status_code == 200, gone.text
    deadline = time.monotonic() + 60
    while world.api(token, view="group").status_code != 403:
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_logging_out_ends_it_here_and_at_the_hub(world: World) -> None:
    with world.browser() as http:
        world.go(http, f"{world.usage}{PREFIX}", "bruno")
        kept = {one.name: one.value for one in http.cookies.jar}
        answer = http.get(f"{world.usage}{PREFIX}logout")
        assert answer.headers["Location"] == f"{world.hub}/hub/logout"
        world.go(http, answer.headers["Location"])
        assert http.get(f"{world.usage}{PREFIX}").is_redirect
    with world.browser() as thief:
        # The token went with the hub's session, so the cookie that was kept is worth nothing.
        cookie = {"Cookie": f"service-usage={kept['service-usage']}"}
        stolen = thief.get(f"{world.usage}{PREFIX}", headers=cookie)
        assert stolen.is_redirect


def test_a_login_that_was_not_begun_here_is_begun_again(world: World) -> None:
    with world.browser() as http:
        for query in ("", "?code=x", "?state=abc&code=x", "?state=../x&code=x"):
            answer = http.get(f"{world.usage}{PREFIX}oauth_callback{query}")
            assert answer.headers["Location"] == PREFIX
            assert "service-usage" not in http.cookies
        begun = http.get(f"{world.usage}{PREFIX}sessions")
        [state] = parse_qs(urlsplit(begun.headers["Location"]).query)["state"]
        name = f"service-usage-oauth-state-{state}"
        good = http.cookies[name]
        other = f"{'1' if good[0] == '0' else '0'}{good[1:]}"
        for bad in (good[:-2], other, "x", good.replace(".", "")):
            forged = http.get(
                f"{world.usage}{PREFIX}oauth_callback?state={state}&code=x",
                headers={"Cookie": f"{name}={bad}"},
            )
            assert forged.headers["Location"] == PREFIX


def test_a_cookie_that_was_made_up_is_no_login(world: World) -> None:
    token = world.token_of("dario")
    with world.browser() as http:
        for value in (token, f"{'0' * 64}.{token.encode().hex()}", "x.y", ".", "x"):
            cookie = {"Cookie": f"service-usage={value}"}
            answer = http.get(f"{world.usage}{PREFIX}", headers=cookie)
            assert answer.is_redirect
            assert "/hub/api/oauth2/authorize" in answer.headers["Location"]


def test_when_the_hub_does_not_answer_that_is_what_is_said(world: World) -> None:
    """The last one: it stops the hub."""
    with world.browser() as http:
        world.go(http, f"{world.usage}{PREFIX}", "bruno")
        world.process.kill()
        world.process.wait(20)
        deadline = time.monotonic() + 60
        while (page := http.get(f"{world.usage}{PREFIX}")).status_code == 200:
            # Until what the hub said last is forgotten.
            assert time.monotonic() < deadline
            time.sleep(0.5)
        assert page.status_code == 503
        assert "JupyterHub does not say who you are." in page.text
        assert "hub_unavailable" in page.text
    answer = world.api("x")
    assert (answer.status_code, answer.json()["code"]) == (503, "hub_unavailable")
