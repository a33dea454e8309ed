"""README and tutorials do what they show."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from arcetri_hub.devidp.demo import DEMO_USERS
from arcetri_hub.up import ports
from tests.docs.console import Shell, blocks
from tests.support.platform import login, xsrf

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs" / "tutorials").glob("*.md")),
    *sorted((ROOT / "docs" / "how-to").glob("*.md")),
]
MARKS = ("tested", "not tested: ")
ON_CLUSTER = "tested on a cluster"
"""Begins the mark of what ``tests/cluster`` runs."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_shown_command_is_tested_or_says_why_not(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8")):
        assert block.mark.startswith(MARKS), f"{page.name}:{block.line} has no mark"
        assert block.commands, f"{page.name}:{block.line} has no command"


def test_what_the_readme_leaves_to_the_tutorial_stands_there() -> None:
    readme, tutorial = (
        blocks(page.read_text(encoding="utf-8"))
        for page in (ROOT / "README.md", ROOT / "docs" / "tutorials" / "cluster.md")
    )
    mark = "not tested: the tutorial does the same"
    here = [one.text for block in readme if block.mark.startswith(mark) for one in block.commands]
    there = {one.text: block.mark for block in tutorial for one in block.commands}
    assert here
    assert [one for one in here if one not in there] == []
    untried = [one for one in here if not there[one].startswith(ON_CLUSTER)]
    assert untried == ["make cluster-up"]  # the tests have a cluster


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    port = ports.choose()
    url = f"http://127.0.0.1:{port}"

    def token(name: str) -> str:
        password = next(user.password for user in DEMO_USERS if user.name == name)
        with httpx.Client(base_url=url, timeout=60) as client:
            login(client, url, name, password)
            answer = client.post(
                f"/hub/api/users/{name}/tokens", json={"note": "docs"}, headers=xsrf(client)
            )
            return str(answer.raise_for_status().json()["token"])

    binaries = Path(sys.executable).parent
    (tmp_path / ".venv").symlink_to(binaries.parent)
    environment = {
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
    }
    # What the Makefile runs once its environment is there; the system tests run make itself.
    replace = {"make up": f"arcetri up --port {port}", "http://127.0.0.1:8000": url}
    shell = Shell(tmp_path, environment, replace, token)
    yield shell
    shell.close()


@pytest.mark.component
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_shows_is_what_happens(page: Path, shell: Shell) -> None:
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.mark.startswith("tested") and not block.mark.startswith(ON_CLUSTER):
            try:
                shell.run(block)
            except AssertionError as error:
                raise AssertionError(f"{page.name}:{block.line}\n{error}") from None
