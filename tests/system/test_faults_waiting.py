"""A hub killed with -9 at every point of waiting: everyone is in their place, nothing starts twice.

By REST, as a script does it; ``arcetri up`` starts the hub again.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.hub.pages.test_waiting import one_t4, state
from tests.support.faults import DyingHub, agree
from tests.support.platform import Platform, running, until

pytestmark = [pytest.mark.component, pytest.mark.timeout(600)]

T4 = {"flavor": "t4", "group": "/arcetri/cms"}
A100 = {"flavor": "a100-1g", "group": "/arcetri/cms"}


@pytest.fixture
def dying(tmp_path: Path) -> Iterator[tuple[Platform, DyingHub]]:
    profiles, armed = tmp_path / "profiles.yaml", tmp_path / "armed"
    profiles.write_text(one_t4(), encoding="utf-8")
    environment = DyingHub.environment(armed)
    with running(tmp_path / "state", "--profiles", str(profiles), env=environment) as platform:
        yield platform, DyingHub(platform, armed)


class Person:
    """Somebody with a token, who asks by REST."""

    def __init__(self, platform: Platform, name: str) -> None:
        self.platform, self.name = platform, name
        self.headers = {"Authorization": f"token {platform.token(name)}"}
        self.path = f"/hub/api/users/{name}/server"

    def say(self, method: str, path: str, **more: Any) -> httpx.Response:
        url = f"{self.platform.url}{path}"
        return httpx.request(method, url, headers=self.headers, timeout=60, **more)

    def ask(self, choice: dict[str, str]) -> httpx.Response:
        return self.say("POST", self.path, json=choice)

    def leave(self) -> httpx.Response:
        return self.say("DELETE", self.path)

    def place(self) -> Any:
        """Where a request is that waits: asked for again, it is answered the same."""
        answer = self.ask(T4)
        assert answer.status_code == 202, answer.text
        return answer.json()["place"]

    def runs(self) -> bool:
        servers = self.say("GET", f"/hub/api/users/{self.name}").json()["servers"]
        return bool(servers.get("", {}).get("ready"))


def test_killed_at_any_point_of_going_back_in_line(tmp_path: Path) -> None:
    profiles, armed = tmp_path / "profiles.yaml", tmp_path / "armed"
    plain = one_t4().replace("grace: 5m", "grace: 2s")
    assert "grace: 2s" in plain
    profiles.write_text(plain, encoding="utf-8")
    title = "    title: NVIDIA T4\n"
    assert title in plain
    begun = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    maintained = plain.replace(title, f"{title}    maintenance: {{from: '{begun}'}}\n")
    environment = DyingHub.environment(armed)
    with running(tmp_path / "state", "--profiles", str(profiles), env=environment) as platform:
        hub = DyingHub(platform, armed)
        session = platform.start_session("alice", flavor="t4")
        alice = Person(platform, "alice")
        query = (
            "select id, reason, place from arcetri_request where username = 'alice' order by rowid"
        )
        points = ("stop.asked", "request.returned", "request.back_in_line")
        for number, point in enumerate(points, 1):
            hub.dies(point, when=partial(profiles.write_text, maintained, encoding="utf-8"))
            until(lambda: not platform.sessions(), "the session has ended")
            until(lambda: state(platform, "alice") == ["waiting"], "and is in line again")
            rows = platform.rows(query)
            assert [reason for _, reason, _ in rows] == ["maintenance"] * number + [""]
            assert len({place for _, _, place in rows}) == 1
            profiles.write_text(plain, encoding="utf-8")
            until(alice.runs, "the session starts by itself", 60)
            assert session not in platform.sessions()
            assert len(platform.sessions()) == 1
        agree(platform, set(platform.sessions()))
        alice.leave()
        agree(platform, set())


def test_killed_at_any_point_of_waiting(dying: tuple[Platform, DyingHub]) -> None:
    platform, hub = dying
    alice = platform.start_session("alice", flavor="t4")
    bruno, chiara = Person(platform, "bruno"), Person(platform, "chiara")

    hub.dies("request.waiting", when=lambda: bruno.ask(T4))
    answer = bruno.ask(T4)
    assert answer.status_code == 202, answer.text
    said = answer.json()
    assert (said["state"], said["place"], said["provisional"]) == ("queued", 1, False)
    assert said["page"] == "/hub/waiting/bruno"
    assert [one["code"] for one in said["reasons"]] == ["busy_quota", "busy_capacity"]
    chiara.ask(T4)
    assert (bruno.place(), chiara.place()) == (1, 2)
    assert bruno.say("GET", said["url"]).json()["place"] == 1
    assert chiara.say("GET", said["url"]).status_code in (403, 404)

    with platform.api("alice") as api:
        hub.dies("request.admitted", when=lambda: api.delete("/users/alice/server"))
    until(bruno.runs, "bruno's session starts by itself")
    assert alice not in platform.sessions()
    assert len(platform.sessions()) == 1
    assert (chiara.place(), state(platform, "chiara")) == (1, ["waiting"])
    now = bruno.say("GET", said["url"]).json()
    assert (now["state"], now["session"]) == ("running", "/user/bruno/")

    def move() -> None:
        with platform.login("chiara") as client:
            page = client.get("/hub/waiting/chiara")
            token = page.text.split("/hub/waiting/chiara?_xsrf=")[1].split('"')[0]
            client.post(f"/hub/waiting/chiara?_xsrf={token}", data=A100)

    hub.dies("request.moved", when=move)
    until(chiara.runs, "the exchanged request starts")
    rows = platform.rows("select flavor from arcetri_request where state != 'ended' order by 1")
    assert [row[0] for row in rows] == ["a100-1g", "t4"]
    assert len(platform.sessions()) == 2

    chiara.leave()
    until(lambda: len(platform.sessions()) == 1, "chiara's session has ended")
    until(lambda: state(platform, "chiara") == [], "and is recorded so")
    assert chiara.ask(T4).json()["state"] == "queued"
    hub.dies("request.left", when=chiara.leave)
    assert state(platform, "chiara") == []
    bruno.leave()
    agree(platform, set())
    last = "select reason from arcetri_request where username = 'chiara' order by place desc"
    assert platform.rows(last)[0] == ("left",)
