"""The reaper on a real platform: an idle session, a busy one, and what their users read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import arcetri_hub
from tests.support.kernels import compute
from tests.support.platform import Platform, running, until

DEMO = Path(arcetri_hub.__file__).parent / "catalogs" / "demo.yaml"


def catalog(folder: Path) -> Path:
    text = DEMO.read_text(encoding="utf-8")
    for old, new in (
        ("idle: 1h", "idle: 10s"),
        ("lifetime: 12h", "lifetime: 50s"),
        ("grace: 5m", "grace: 4s"),
    ):
        assert old in text
        text = text.replace(old, new)
    path = folder / "profiles.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def reasons(platform: Platform) -> dict[str, str]:
    rows = platform.rows("select username, reason from arcetri_request where state = 'ended'")
    return dict(rows)


@pytest.mark.component
async def test_idle_sessions_end_after_a_warning_and_busy_ones_at_their_lifetime(
    tmp_path: Path,
) -> None:
    with running(tmp_path / "state", "--profiles", str(catalog(tmp_path))) as platform:
        platform.start_session("bruno", flavor="cpu")
        channel = await compute(platform, "bruno", "import time; time.sleep(600)")
        platform.start_session("alice", flavor="t4")
        with platform.login("alice") as alice:
            until(lambda: "does nothing" in alice.get("/hub/home").text, "the end is announced")
            until(lambda: reasons(platform).get("alice") == "idle", "the idle session is ended")
            home = alice.get("/hub/home").text
            assert "nothing had happened in it for 10 seconds" in home
        assert not any(device.startswith("SIM-t4") for device in platform.leases())
        assert "bruno" not in reasons(platform), "a busy kernel is never idle"
        scopes = [
            json.loads(scopes)
            for (scopes,) in platform.rows("select scopes from api_tokens where note like 'asks %'")
        ]
        assert scopes, "sessions are asked with tokens of their own"
        assert all(
            scope.startswith("access:servers!server=") for token in scopes for scope in token
        )
        with platform.login("bruno") as bruno:
            until(lambda: "runs longer than 50 seconds" in bruno.get("/hub/home").text, "announced")
            until(lambda: reasons(platform).get("bruno") == "lifetime", "it ends")
            assert "had run for 50 seconds" in bruno.get("/hub/home").text
        assert platform.sessions() == {}
        channel.close()
        while await channel.read_message() is not None:
            pass
