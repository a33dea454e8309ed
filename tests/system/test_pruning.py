"""The running hub forgets what ended long ago."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.platform import Platform, until

pytestmark = pytest.mark.component

ENDED = "select id from arcetri_request where state = 'ended'"


def test_a_hub_that_starts_forgets_what_ended_long_ago(platform: Platform) -> None:
    for server in ("old", "new"):
        platform.start_session("alice", server, flavor="cpu")
        with platform.api("alice") as api:
            api.delete(f"/users/alice/servers/{server}").raise_for_status()
            until(lambda: not platform.sessions(), "it has ended")
    until(lambda: len(platform.rows(ENDED)) == 2, "both ends are recorded")
    long_ago = f"{datetime.now(UTC) - timedelta(days=91):%Y-%m-%d %H:%M:%S.%f}"
    with contextlib.closing(sqlite3.connect(platform.state / "arcetri.sqlite")) as database:
        database.execute(
            "update arcetri_request set ended_at = ? where server_name = 'old'", (long_ago,)
        )
        database.commit()

    os.kill(platform.child("jupyterhub"), signal.SIGKILL)
    until(lambda: "The hub is back" in platform.said(), "it is back")

    until(lambda: len(platform.rows(ENDED)) == 1, "the old one is forgotten")
    assert platform.rows("select server_name from arcetri_request") == [("new",)]
    assert len(platform.rows("select id from arcetri_session")) == 1
