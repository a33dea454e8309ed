"""Who asks while IAM is silent is kept a device or a place, reads why, and then starts."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from arcetri_hub.pages.servers import begun_by_asker
from arcetri_spawner.errors import Kept
from arcetri_spawner.policy.model import Standing
from tests.hub.pages.test_fresh import ONCE
from tests.hub.pages.test_waiting import one_t4, state
from tests.hub.pages.web import action, ask
from tests.spawner.local.test_waiting import T4, Hub, a_hub, launch, text
from tests.support.platform import Platform, running, until

SAID = "IAM does not answer, so it cannot be checked which groups you are in now."


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform with one T4."""
    folder = tmp_path_factory.mktemp("silence")
    profiles = folder / "profiles.yaml"
    profiles.write_text(one_t4(), encoding="utf-8")
    with running(folder / "state", "--profiles", str(profiles)) as made:
        yield made


@contextmanager
def silent_iam(platform: Platform) -> Iterator[None]:
    """The development IAM takes connections and answers nothing."""
    iam = platform.child("devidp")
    os.kill(iam, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(iam, signal.SIGCONT)


@pytest.mark.component
def test_what_is_asked_for_while_iam_is_silent_is_kept_by_every_way_in(platform: Platform) -> None:
    choice = {"flavor": "t4", "group": "/arcetri/cms"}
    with (
        platform.login("bruno") as bruno,
        platform.login("chiara") as chiara,
        platform.api("alice") as alice,
    ):
        with silent_iam(platform):
            time.sleep(ONCE)
            # A link leads to the form, which says what will become of it.
            page = bruno.get("/hub/spawn?flavor=t4&group=/arcetri/cms")
            assert "What you ask for now is kept for you" in page.text
            asked = bruno.post(action(page), data=choice)
            assert (asked.status_code, asked.headers["Location"]) == (302, "/hub/waiting/bruno")
            page = bruno.get("/hub/waiting/bruno").text
            assert "It is your turn" in page
            assert "Your session cannot be started yet, and its device is kept until" in page
            assert SAID in page
            assert "It starts by itself as soon as IAM answers." in page
            assert state(platform, "bruno") == ["admitted"]
            inside = bruno.get("/user/bruno/lab", follow_redirects=True).text
            assert "cannot be started yet" in inside
            pending = bruno.get("/hub/spawn-pending/bruno")
            assert pending.headers["Location"] == "/hub/waiting/bruno"
            # It is not the start that is waited for.
            home = bruno.get("/hub/home").text
            assert "cannot be started yet" in home
            assert "See your place" in home

            # Nothing is left of the T4: who comes second stands in line.
            queued = alice.post("/users/alice/server", json=choice)
            assert (queued.status_code, queued.json()["state"]) == (202, "queued")
            kept = alice.post("/users/alice/servers/second", json={"flavor": "cpu"})
            assert (kept.status_code, kept.json()["state"]) == (202, "admitted")
            assert kept.json()["trouble"]["message"] == SAID
            assert kept.json()["hold_until"] is not None
            look = alice.get(f"/arcetri/requests/{kept.json()['request']}").json()
            assert (look["state"], look["trouble"]) == ("admitted", kept.json()["trouble"])

            # Of a flavour that her groups did not grant nobody knows whether they do now.
            refused = ask(chiara, {"flavor": "h100"})
            assert 'data-code="identity_unknown"' in refused.text
            assert state(platform, "chiara") == []

        until(lambda: state(platform, "bruno") == ["running"], "his starts by itself", 60)
        both = ["running", "waiting"]
        until(lambda: sorted(state(platform, "alice")) == both, "so does hers", 60)
        bruno.post(action(bruno.get("/hub/home"), "/hub/arcetri/stop"))
        until(lambda: state(platform, "alice") == ["running", "running"], "it is her turn", 60)


async def test_a_page_whose_start_is_kept_does_not_end_it(tmp_path: Path) -> None:
    async with a_hub(tmp_path, "0" * 32, text(t4=1)) as hub:
        asked, starts = await hub.service.ask("bob", "", T4)
        assert starts
        hub.people.standing["bob"] = Standing.UNKNOWN

        with pytest.raises(Kept):
            async with begun_by_asker(hub.service, asked):
                await hub.service.start("bob", "", T4, launch())

        assert hub.service.waiting.find("bob", "") is asked
        await other_faults_end_it(hub)


async def other_faults_end_it(hub: Hub) -> None:
    asked, starts = await hub.service.ask("carla", "", {"flavor": "cpu"})
    assert starts
    with pytest.raises(RuntimeError):
        async with begun_by_asker(hub.service, asked):
            raise RuntimeError("JupyterHub does not begin it")
    assert hub.service.waiting.find("carla", "") is None
