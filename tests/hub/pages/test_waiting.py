"""Who finds everything busy waits in line, is told the place, and starts when it is their turn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from arcetri_hub.up.prepare import DEMO_CATALOG
from tests.hub.pages.web import ask
from tests.support.platform import Platform, running, until

pytestmark = pytest.mark.component


def one_t4(hold: str = "10m") -> str:
    """The demonstration's catalog with a single T4, of which a group may hold one."""
    text = DEMO_CATALOG.read_text(encoding="utf-8")
    for old, new in (
        ("    t4: 2\n", "    t4: 1\n"),
        ("      t4: {quota: 2, limit: 1}\n", "      t4: {quota: 1, limit: 1}\n"),
        ("  hold: 10m ", f"  hold: {hold} "),
    ):
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("waiting")
    profiles = folder / "profiles.yaml"
    profiles.write_text(one_t4(), encoding="utf-8")
    with running(folder / "state", "--profiles", str(profiles)) as made:
        yield made


def state(platform: Platform, name: str) -> list[str]:
    return [
        row[0]
        for row in platform.rows(
            "select state from arcetri_request where username = ? and state != 'ended'", name
        )
    ]


def test_the_second_waits_on_a_page_and_starts_by_itself(platform: Platform) -> None:
    platform.start_session("alice", flavor="t4")
    with platform.login("bruno") as bruno:
        answer = ask(bruno, {"flavor": "t4", "group": "/arcetri/cms"})
        assert (answer.status_code, answer.headers["Location"]) == (302, "/hub/waiting/bruno")
        page = bruno.get("/hub/waiting/bruno")
        assert "You are 1st in line" in page.text
        assert "There is no estimate yet" in page.text
        assert "The only NVIDIA T4 is in use" in page.text
        assert state(platform, "bruno") == ["waiting"]
        assert platform.rows("select * from spawners where name = 'x'") == []

        with platform.api("alice") as api:
            assert api.delete("/users/alice/server").status_code in (202, 204)

        def session() -> str:
            return str(bruno.get("/hub/waiting/bruno").headers.get("Location"))

        until(lambda: session() == "/user/bruno/", "it leads into the session")
    with platform.api("bruno") as api:
        api.delete("/users/bruno/server")
