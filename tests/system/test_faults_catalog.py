"""The catalog is broken while users start: the last good one serves, and the admins are told."""

from __future__ import annotations

import html
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.faults import agree
from tests.support.platform import Platform, until

pytestmark = pytest.mark.component

STARTS = {"alice": "t4", "bruno": "cpu", "fabio": "a100-1g"}


def edit(path: Path, *changes: tuple[str, str]) -> None:
    """Change a file as an editor does that writes it anew."""
    text = path.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    fresh = path.with_suffix(".edited")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def findings(profiles: Path) -> list[str]:
    """What the admin's own check says of the file, a line a finding."""
    done = subprocess.run(
        [sys.executable, "-m", "arcetri_hub", "profiles", "check", "--profiles", str(profiles)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith(f"{profiles}:")]
    assert len(lines) >= 3, done.stdout
    return lines


def logged(platform: Platform, lines: Sequence[str]) -> bool:
    log = (platform.state / "logs" / "hub.log").read_text(encoding="utf-8", errors="replace")
    return all(line in log for line in lines)


def seen(platform: Platform, name: str, page: str = "/hub/home") -> str:
    with platform.login(name) as client:
        return html.unescape(client.get(page).text)


def test_the_last_good_catalog_serves_and_admins_see_what_is_wrong(platform: Platform) -> None:
    profiles = platform.state / "profiles.yaml"
    with ThreadPoolExecutor(len(STARTS)) as pool:
        started = [pool.submit(platform.start_session, n, flavor=f) for n, f in STARTS.items()]
        edit(
            profiles,
            ("share: 1/7", "share: 1/11"),
            ("flavors: [cpu]", "flavors: [cpus]"),
            ("sessions: 2", "sesions: 2"),
        )
        lines = findings(profiles)
        until(lambda: logged(platform, lines), "each finding is a line of the hub's log", 30)
        sessions = {start.result() for start in started}
    agree(platform, sessions)

    # Starts go on as the last good one says, also of what the broken one takes away.
    sessions.add(platform.start_session("chiara", flavor="cpu"))
    agree(platform, sessions)
    for page in ("/hub/home", "/hub/arcetri/sessions"):
        shown = seen(platform, "dario", page)
        assert all(line in shown for line in lines), page
    with httpx.Client(base_url=platform.url) as nobody:
        health = nobody.get("/hub/arcetri/health").raise_for_status().json()
    assert health["unwell"] == []
    assert "profiles.yaml was changed and refused" in health["doubts"][0]
    assert str(profiles) not in seen(platform, "alice")

    # A hub that dies meanwhile comes back with the last good one too.
    os.kill(platform.child("jupyterhub"), signal.SIGKILL)
    until(lambda: "The hub is back" in platform.said(), "the hub is back")
    assert all(line in seen(platform, "dario") for line in lines)
    agree(platform, sessions)
    sessions.add(platform.start_session("dario", flavor="cpu"))

    edit(
        profiles,
        ("share: 1/11", "share: 1/7"),
        ("flavors: [cpus]", "flavors: [cpu]"),
        ("sesions: 2", "sessions: 2"),
        ("title: NVIDIA T4\n", "title: NVIDIA T4 of the mended catalog\n"),
    )
    with platform.login("alice") as client:
        until(lambda: "of the mended catalog" in _spawn_page(client), "the mended one serves", 30)
    assert logged(platform, ["catalog taken"])
    assert str(profiles) not in seen(platform, "dario")
    agree(platform, sessions)


def _spawn_page(client: httpx.Client) -> str:
    return client.get("/hub/spawn/alice/second").text
