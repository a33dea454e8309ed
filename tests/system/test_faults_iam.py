"""The identity provider goes away and comes back with other keys, or a person loses a group."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import httpx
import pytest

from arcetri_hub.devidp.demo import DEMO_USERS
from arcetri_hub.up import ports
from tests.support.faults import agree
from tests.support.iam import DevIam
from tests.support.platform import Platform, running, until

pytestmark = [pytest.mark.component, pytest.mark.timeout(600)]

REUSE = 6
"""Seconds after which no answer of IAM serves again."""
SILENCE = 30
"""Seconds within which a new login must find out that IAM is away: an answer counts for ten."""


@contextmanager
def platform_with_iam(folder: Path) -> Iterator[tuple[Platform, DevIam]]:
    """A platform whose IAM is another process's, as a lab's is, and that process."""
    port = ports.choose()
    with DevIam.started(folder, [f"http://127.0.0.1:{port}/hub/oauth_callback"]) as iam:
        options = ["--issuer", iam.issuer, "--client-id", iam.client_id]
        options += ["--client-secret-file", str(iam.secret_file), "--one-account"]
        with running(folder / "state", *options, port=port) as platform:
            platform.users = [asdict(user) for user in DEMO_USERS]
            yield platform, iam


def says(platform: Platform, page: str, words: str) -> bool:
    """Whether somebody who is not logged in reads this."""
    answer = httpx.get(f"{platform.url}{page}", timeout=60)
    return words in answer.text


def test_iam_goes_away_and_comes_back_with_other_keys(tmp_path: Path) -> None:
    with platform_with_iam(tmp_path) as (platform, iam):
        session = platform.start_session("alice", flavor="t4")
        before = platform.servers()
        tokens = {name: platform.token(name) for name in ("alice", "bruno")}

        def untouched() -> None:
            agree(platform, {session})
            assert platform.servers() == before
            url = f"{platform.url}/user/alice/api/status"
            headers = {"Authorization": f"token {tokens['alice']}"}
            assert httpx.get(url, headers=headers, timeout=60).status_code == 200

        def ask() -> httpx.Response:
            url = f"{platform.url}/hub/api/users/bruno/server"
            headers = {"Authorization": f"token {tokens['bruno']}"}
            return httpx.post(url, headers=headers, json={"flavor": "cpu"}, timeout=60)

        iam.stop(kill=True)
        until(
            lambda: says(platform, "/hub/oauth_login", "gives no answer at the moment"),
            "a login says that IAM is away",
            SILENCE,
        )
        assert says(platform, "/hub/login", "INDIGO IAM does not answer at the moment")
        assert says(platform, "/hub/login", "Sessions that are running go on undisturbed")
        answer = ask()
        assert (answer.status_code, answer.json()["state"]) == (202, "admitted")
        trouble = answer.json()["trouble"]
        assert trouble["code"] == "identity_unknown"
        assert "IAM does not answer" in trouble["message"]
        assert trouble["remedy"] == "It starts by itself as soon as IAM answers."
        headers = {"Authorization": f"token {tokens['bruno']}"}
        url = f"{platform.url}/hub/api/users/bruno/server"
        assert httpx.delete(url, headers=headers, timeout=60).status_code == 204
        untouched()

        # The hub itself may be started again meanwhile.
        os.kill(platform.child("jupyterhub"), signal.SIGKILL)
        until(lambda: "The hub is back" in platform.said(), "the hub is back")
        until(
            lambda: says(platform, "/hub/login", "does not answer at the moment"),
            "the login page says so from the hub's start on",
            SILENCE,
        )
        untouched()

        for keep_kid in (False, True):
            iam.start()
            iam.rotate_keys(keep_kid=keep_kid)
            iam.stop()
            iam.start()
            with platform.login("chiara") as client:
                assert client.get("/hub/home").status_code == 200
            # The login of before serves again too: its next answer is signed with the new key.
            started = ask()
            assert started.status_code in (201, 202), started.text
            with platform.api("bruno") as api:
                until(lambda: platform.server(api, "bruno").get("ready"), "it is ready")
                api.delete("/users/bruno/server")
                until(lambda: not platform.server(api, "bruno"), "it has ended")
            until(
                lambda: says(platform, "/hub/login", "Sign in with INDIGO IAM"),
                "the login page is as it was",
                60,
            )
            untouched()
            iam.stop()


def set_groups(platform: Platform, name: str, groups: list[str]) -> None:
    """Change somebody's groups, as an administrator of the development IAM does."""
    settings = json.loads((platform.state / "settings.json").read_text(encoding="utf-8"))
    address = f"{settings['iam']['issuer']}dev/api/users/{name}"
    httpx.patch(address, json={"groups": groups}, trust_env=False).raise_for_status()
    time.sleep(REUSE)


def test_a_group_lost_ends_nothing_and_grants_nothing_more(platform: Platform) -> None:
    session = platform.start_session("alice", flavor="t4", group="/arcetri/cms")
    before = platform.servers()
    with platform.api("alice") as api, platform.login("alice") as client:
        set_groups(platform, "alice", ["/arcetri/students"])

        answer = api.post(
            "/users/alice/servers/second", json={"flavor": "a100-1g", "group": "/arcetri/cms"}
        )
        assert answer.status_code == 403
        assert answer.json()["code"] == "group_not_yours", answer.text
        assert 'You are not in a group "/arcetri/cms"' in answer.json()["message"]
        agree(platform, {session})
        assert platform.servers() == before
        lab = client.get("/user/alice/lab", follow_redirects=True)
        assert (lab.status_code, lab.url.path) == (200, "/user/alice/lab")

        # What she reads, and that it is not offered any more.
        page = client.get("/hub/spawn/alice/second").text
        assert 'value="a100-1g"' in page
        assert 'value="t4"' not in page

        assert api.delete("/users/alice/server").status_code in (202, 204)
        agree(platform, set())
        answer = api.post("/users/alice/server", json={"flavor": "t4"})
        assert answer.status_code == 403
        assert answer.json()["code"] == "flavor_not_granted", answer.text
        assert "None of your groups grants" in answer.json()["message"]

        set_groups(platform, "alice", [])
        answer = api.post("/users/alice/server", json={"flavor": "cpu"})
        assert answer.status_code == 403
        assert answer.json()["code"] == "not_allowed", answer.text
        agree(platform, set())

        set_groups(platform, "alice", ["/arcetri/cms"])
        answer = api.post("/users/alice/server", json={"flavor": "t4"})
        assert answer.status_code in (201, 202), answer.text
