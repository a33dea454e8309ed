"""The disk of the state folder is really full, under a platform that runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.faults import agree, fill, small_disk
from tests.support.platform import Platform, running, until, xsrf

pytestmark = [
    pytest.mark.component,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root"),
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "state", 64) as folder:
        yield folder


def test_a_full_disk_refuses_new_starts_and_nothing_else(disk: Path) -> None:
    with running(disk) as platform:
        session = platform.start_session("alice", flavor="t4")
        before = platform.servers()
        tokens = {name: platform.token(name) for name in ("alice", "bruno")}

        def api(name: str) -> httpx.Client:
            headers = {"Authorization": f"token {tokens[name]}"}
            return httpx.Client(base_url=f"{platform.url}/hub/api", headers=headers, timeout=60)

        def answers() -> int:
            headers = {"Authorization": f"token {tokens['alice']}"}
            url = f"{platform.url}/user/alice/api/contents"
            return httpx.get(url, headers=headers, timeout=60).status_code

        ballast = fill(disk)
        with api("bruno") as bruno:
            for _ in range(3):
                answer = bruno.post("/users/bruno/server", json={"flavor": "cpu"})
                fill(disk)
                assert answer.status_code == 503
                assert answer.json()["code"] == "storage_full"
                assert "disk" in answer.json()["message"]
                assert "Running sessions go on" in answer.json()["remedy"]
        _refused_on_the_page(platform)
        agree(platform, {session})
        assert answers() == 200

        # The hub itself comes back on the full disk, and finds the session.
        os.kill(platform.child("jupyterhub"), signal.SIGKILL)
        until(lambda: "The hub is back" in platform.said(), "the hub is back")
        with api("alice") as alice:
            until(lambda: platform.server(alice, "alice").get("ready"), "the session is adopted")
            assert platform.servers() == before
            assert answers() == 200
            # And sessions end in the books.
            assert alice.delete("/users/alice/server").status_code in (202, 204)
        agree(platform, set())

        ballast.unlink()
        platform.start_session("bruno", flavor="cpu")


def _refused_on_the_page(platform: Platform) -> None:
    """A person who logs in now is told in plain words."""
    with platform.login("bruno") as client:
        page = client.get("/hub/spawn")
        assert page.status_code == 200
        token = xsrf(client)["X-XSRFToken"]
        page = client.post("/hub/spawn", data={"flavor": "cpu"}, params={"_xsrf": token})
    assert page.status_code == 503
    assert 'data-code="storage_full"' in page.text
    assert "disk of the platform&#39;s state folder is full" in page.text
