"""A hub killed with -9 at every point of a start, a stop and its own recovery; a session killed.

The hub dies for good, in the platform that ``arcetri up`` runs, and the supervisor starts it again.
Each start that is cut short is followed by the next one of the same person, which is cut short
later: so each shows that the one before left nothing in its way.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import zip_longest
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import psutil
import pytest

from arcetri_accounting.contract.journal import (
    JOURNAL_NAME,
    LeaseEnded,
    LeaseStarted,
)
from arcetri_hub.factory import LAST_GOOD
from arcetri_spawner.backends.local.procs import boot_id
from arcetri_spawner.killpoints import HUB_POINTS, POINTS, VARIABLE, WRITE_POINTS
from tests.support.faults import DyingHub, agree
from tests.support.platform import Platform, running, until, xsrf

pytestmark = [pytest.mark.component, pytest.mark.timeout(900)]

ASKED = ("request.opened", "queue.leased", "spawner.called")
"""Killed there, the request is in line or admitted, and starts by itself when the hub is back."""
IN_LINE = (
    "request.waiting", "request.admitted", "request.moved", "request.left",
    "request.returned", "request.back_in_line",
)  # fmt: skip
"""Killed there, everyone is in their place: see ``test_faults_waiting``."""
BEFORE = (
    "request.starting", "start.prepared", "start.spawned", "start.recorded",
    "journal.half_written", "start.journaled",
)  # fmt: skip
"""Killed there, a start has never been: the session's first process was not told to begin."""
BEGUN = ("start.released", "start.answered", "request.running", "spawner.started")
"""Killed there, the session goes on, and the hub finds it."""
TOLD = "end.told"
"""Killed there, it is written that the session ends, and it was not asked to end yet."""
ASKED_TO_END = "stop.asked"
STOPPING = (
    TOLD, ASKED_TO_END, "end.process_gone", "end.cleared", "journal.half_written",
    "end.journaled", "journal.compacted", "journal.replaced", "queue.freed", "request.ended",
    "spawner.stopped",
)  # fmt: skip
"""Killed there, the session ends all the same, and for the same reason."""
SIGNING_IN = ("account.writing", "account.written", "login.writing", "login.written")
"""Killed there, a login is done again, and is the same person's."""
REFRESHING = ("refresh.writing", "refresh.written")
"""Killed there, a start has never been: IAM is asked first."""
NUMBERING = ("numbers.writing", "numbers.written")
"""Killed there, numeric ids are all given or none, and are the same ones then."""
CATALOG = ("catalog.writing", "catalog.written")
"""Killed there, a saved catalog counts all the same, and its copy is a whole one."""
RECOVERING = ("recover.cleared", "recover.journaled", "recover.freed", "recover.marked")

PADDING = 1_200_000
"""Bytes in the journal, so that it is one that the next end shortens."""


def test_every_point_is_tried() -> None:
    tried = {*ASKED, *IN_LINE, *BEFORE, *BEGUN, *STOPPING, *RECOVERING}
    tried |= {*SIGNING_IN, *REFRESHING, *NUMBERING, *CATALOG}

    assert tried == {*POINTS, *HUB_POINTS, *WRITE_POINTS}


def lengthen(journal: Path) -> None:
    """Append to a journal much that ended long ago and was acknowledged, for it to be shortened."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    with journal.open("a", encoding="utf-8") as file:
        while file.tell() < PADDING:
            session = str(uuid4())
            start = LeaseStarted(
                seq=1, session=session, account="a", username="somebody", group=f"/{'x' * 500}",
                flavor="t4", flavor_type="gpu", share=1, catalog="0" * 64, cpu=1.0, memory=1,
                devices=(), pid=1, pid_start_ticks=1, boot_id=boot_id(), at=at, boottime_ms=0,
            )  # fmt: skip
            end = LeaseEnded(
                seq=2, session=session, reason="stopped", boot_id=boot_id(), at=at, boottime_ms=1
            )
            file.writelines(f"{record.model_dump_json()}\n" for record in (start, end))


def lasting(platform: Platform, session: UUID) -> set[int]:
    """The processes of a session that stay: a server that starts runs others for a moment."""
    seen = set(platform.sessions()[session])
    for _ in range(10):
        time.sleep(0.2)
        seen &= set(platform.sessions()[session])
    return seen


def sign_in(platform: Platform, name: str) -> None:
    """Log in; whoever does while the hub dies comes to a page that says so."""
    with contextlib.suppress(AssertionError), platform.login(name):
        pass


class Pair:
    """Alice's session runs throughout; bruno's is started and stopped, and the hub dies of it."""

    def __init__(self, platform: Platform, hub: DyingHub) -> None:
        self.platform = platform
        self.hub = hub
        self.journal = platform.state / "journal" / JOURNAL_NAME
        self.alice = platform.start_session("alice", flavor="t4")
        self.pids = lasting(platform, self.alice)
        self.tokens = {name: platform.token(name) for name in ("alice", "bruno", "dario")}

    def api(self, name: str) -> httpx.Client:
        headers = {"Authorization": f"token {self.tokens[name]}"}
        return httpx.Client(base_url=f"{self.platform.url}/hub/api", headers=headers, timeout=30)

    def ask(self) -> None:
        """Bruno asks for a session."""
        with self.api("bruno") as api:
            answer = api.post("/users/bruno/server", json={"flavor": "cpu"})
            assert answer.status_code in (201, 202, 500, 502, 503), answer.text

    def stop(self) -> None:
        """Bruno stops it."""
        with self.api("bruno") as api:
            api.delete("/users/bruno/server")

    def send_off(self) -> None:
        """An admin ends it, with a message."""
        with self.api("dario") as api:
            api.request(
                "DELETE", f"/arcetri/sessions/{self.bruno()}", json={"message": "Make room."}
            )

    def freeze(self) -> None:
        """Have bruno's server answer nobody, and end only when it is killed."""
        keeper = self.platform.servers()[self.bruno()]
        (server,) = (child.pid for child in psutil.Process(keeper).children())
        os.kill(server, signal.SIGSTOP)

    def why(self) -> tuple[str, str]:
        """Reason and message of bruno's last end."""
        query = (
            "select reason, message from arcetri_request where username = 'bruno' and state ="
            " 'ended' order by ended_at desc limit 1"
        )
        ((reason, message),) = self.platform.rows(query)
        return reason, message

    def bruno(self) -> UUID:
        """The id of bruno's session."""
        (found,) = set(self.platform.sessions()) - {self.alice}
        return found

    def until_it_runs(self) -> None:
        """Wait until JupyterHub has bruno's session as one that answers."""
        with self.api("bruno") as api:
            until(lambda: self.platform.server(api, "bruno").get("ready"), "it is ready")

    def alone(self) -> None:
        """Nothing is left of bruno's session or half made, and JupyterHub knows."""
        agree(self.platform, {self.alice})
        self._whole("alice")
        with self.api("bruno") as api:
            until(lambda: not self.platform.server(api, "bruno"), "JupyterHub knows that it ended")

    def together(self) -> None:
        """Both sessions run."""
        self.until_it_runs()
        agree(self.platform, {self.alice, self.bruno()})
        self._whole("alice", "bruno")
        assert self._answers("bruno") == 200

    def _whole(self, *names: str) -> None:
        platform = self.platform
        assert self.pids <= set(platform.sessions()[self.alice]), platform.logs()
        assert self._answers("alice") == 200
        notes = [f"Server at /user/{name}/" for name in names]
        until(
            lambda: (
                self._tokens_of_servers() == notes
                and len(platform.rows("select id from spawners where server_id is not null"))
                == len(names)
            ),
            "JupyterHub keeps a server and a token for each session, and no other",
            30,
        )

    def _tokens_of_servers(self) -> list[str]:
        query = "select note from api_tokens where note like 'Server at %' order by note"
        return [row[0] for row in self.platform.rows(query)]

    def _answers(self, name: str) -> int:
        return httpx.get(
            f"{self.platform.url}/user/{name}/api/status",
            headers={"Authorization": f"token {self.tokens[name]}"},
            timeout=60,
        ).status_code


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("killed")
    armed = folder / "armed"
    with running(folder / "state", env=DyingHub.environment(armed)) as platform:
        yield Pair(platform, DyingHub(platform, armed))


def test_a_start_cut_short_leaves_nothing_and_can_be_asked_for_again(pair: Pair) -> None:
    for point in (*REFRESHING, *BEFORE):
        pair.hub.dies(point, when=pair.ask)
        pair.alone()

    pair.hub.dies("start.journaled", *RECOVERING, when=pair.ask)
    pair.alone()

    pair.ask()
    pair.together()
    pair.stop()
    pair.alone()


def test_what_was_asked_for_starts_by_itself_when_the_hub_is_back(pair: Pair) -> None:
    for point in ASKED:
        pair.hub.dies(point, when=pair.ask)
        pair.together()
        pair.stop()
        pair.alone()


def test_a_start_that_had_begun_goes_on_and_a_stop_that_had_is_seen_through(pair: Pair) -> None:
    for begun, stopping in zip_longest(BEGUN, STOPPING):
        if begun:
            pair.hub.dies(begun, when=pair.ask)
        else:
            pair.ask()
        pair.together()
        if stopping == "journal.compacted":
            lengthen(pair.journal)
        if stopping == ASKED_TO_END:
            pair.freeze()
        pair.hub.dies(stopping, when=pair.send_off if stopping == TOLD else pair.stop)
        pair.alone()
        reason, message = pair.why()
        assert reason == ("admin" if stopping == TOLD else "stopped")
        assert "Make room." in message if stopping == TOLD else message == ""

    assert pair.journal.stat().st_size < PADDING


def test_what_jupyterhub_has_forgotten_can_be_stopped_by_page_and_by_rest(pair: Pair) -> None:
    platform = pair.platform
    platform.start_session("bruno", flavor="cpu")
    platform.start_session("bruno", "second", flavor="cpu")
    # As JupyterHub forgets them. It has read them already, and writes only what it changes.
    with (
        contextlib.closing(
            sqlite3.connect(platform.state / "arcetri.sqlite", timeout=30)
        ) as database,
        database,
    ):
        (bruno,) = database.execute("select id from users where name = 'bruno'").fetchone()
        database.execute("update spawners set server_id = null where user_id = ?", (bruno,))
        tokens = "delete from api_tokens where note like 'Server at %' and user_id = ?"
        database.execute(tokens, (bruno,))
    pair.hub.dies("login.written", when=partial(sign_in, platform, "bruno"))

    with platform.login("bruno") as client:
        page = client.get("/hub/home").text
        assert page.count(">running</span>") == 2
        assert "spawn-pending" not in page
        assert client.post("/hub/arcetri/stop/bruno", headers=xsrf(client)).is_redirect
    with pair.api("bruno") as api:
        assert api.delete("/users/bruno/servers/second").status_code in (202, 204)
    pair.alone()
    assert pair.why() == ("stopped", "")


def test_a_login_cut_short_is_done_again_as_the_same_person(pair: Pair) -> None:
    platform, accounts = pair.platform, set()

    for point in SIGNING_IN:
        pair.hub.dies(point, when=partial(sign_in, platform, "chiara"))
        accounts.update(platform.rows("select id from arcetri_account where name = 'chiara'"))
        assert len(accounts) == (point != "account.writing")

    with platform.login("chiara") as client:
        assert "Chiara" in client.get("/hub/home").text
    accounts.update(platform.rows("select id from arcetri_account where label = 'chiara'"))
    assert len(accounts) == 1


def test_a_saved_catalog_counts_and_its_copy_is_whole(pair: Pair) -> None:
    profiles, kept = pair.platform.state / "profiles.yaml", pair.platform.state / LAST_GOOD
    there = {path.name for path in pair.platform.state.iterdir()}
    for number, point in enumerate(CATALOG):
        text = profiles.read_text(encoding="utf-8") + f"# edit {number}\n"
        pair.hub.dies(point, when=partial(profiles.write_text, text, encoding="utf-8"))
        until(lambda text=text: kept.read_text(encoding="utf-8") == text, "the copy is the file")

    assert there == {path.name for path in pair.platform.state.iterdir()}
    assert kept.stat().st_mode & 0o777 == 0o600


NUMBER = """
import asyncio, sys
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.store import Store

async def number():
    store = Store.open(sys.argv[1])
    account = await store.account_for("https://iam.example/", "sub", "alice")
    ids = await store.posix_ids(
        account.id, "alice", [GroupPath("/lab/cms"), GroupPath("/lab/all")],
        users=range(200000, 200010), groups_range=range(300000, 300010),
    )
    print(ids.uid, ids.gid, *sorted(ids.gids.values()))

asyncio.run(number())
"""


def test_numeric_ids_are_all_given_or_none(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"

    def number(point: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", NUMBER, f"sqlite:///{path}"],
            env={**os.environ, VARIABLE: point}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def given() -> list[int]:
        with contextlib.closing(sqlite3.connect(path)) as database:
            rows = database.execute("select number from arcetri_posix_id order by number")
            return [row[0] for row in rows]

    for point in NUMBERING:
        assert number(point).returncode == -signal.SIGKILL
        assert len(given()) == (0 if point == "numbers.writing" else 4)

    numbers = given()
    done = number()
    assert done.returncode == 0, done.stderr
    assert sorted(map(int, done.stdout.split())) == numbers == given()


def test_a_killed_session_is_free_within_ten_seconds_and_its_user_is_told(
    platform: Platform,
) -> None:
    for whom in ("the first process", "the server", "every process"):
        session = platform.start_session("alice", flavor="t4")
        first, processes = platform.servers()[session], platform.sessions()[session]
        (server,) = (child.pid for child in psutil.Process(first).children())
        victims = {"the first process": [first], "the server": [server]}.get(whom, processes)

        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: platform.leases() == [], f"the lease is free: {whom} was killed", 10)

        agree(platform, set())
        with platform.login("alice") as client:
            for page in ("/hub/home", "/hub/spawn", "/user/alice/lab"):
                until(partial(says_killed, client, page), f"{page} says what happened", 10)


def says_killed(client: httpx.Client, page: str) -> bool:
    return "Your last session was killed" in client.get(page, follow_redirects=True).text
