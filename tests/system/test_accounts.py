"""``arcetri up --accounts``: two people, each an account of their own, tried from inside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import httpx
import psutil
import pytest

from arcetri_spawner.backends.local.mounts import why_not
from tests.support import kernel
from tests.support.platform import Platform, running

pytestmark = [
    pytest.mark.component,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="becoming another account needs root"),
]

SECRET = "nobody else's business"
TRY = """
import json, os
said = {}
for what, attempt in %r.items():
    try:
        said[what] = str(eval(attempt))
    except OSError as error:
        said[what] = type(error).__name__
print(json.dumps(said))
"""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a session, and what they can do from inside it."""

    platform: Platform
    name: str
    token: str
    session: UUID
    mounted: bool
    """Whether volumes are mounted at the catalog's places, or linked."""

    @property
    def home(self) -> Path:
        """Where it really is."""
        return self.platform.state / "storage" / "shared" / "home" / self.name

    def inside(self, place: str) -> Path:
        """Where the session finds what the catalog mounts at ``place``."""
        view = self.platform.state / "view" / self.name
        return Path(place) if self.mounted else view / place.lstrip("/")

    @property
    def first_process(self) -> int:
        return self.platform.servers()[self.session]

    @property
    def server(self) -> int:
        (server,) = psutil.Process(self.first_process).children()
        return server.pid

    def tries(self, attempts: dict[str, str]) -> dict[str, str]:
        """What became of each attempt in a kernel: its value, or the error's name."""
        said: dict[str, str] = json.loads(
            kernel.run(self.platform, self.name, self.token, TRY % attempts)
        )
        return said

    def asks(self, method: str, path: str, body: object = None) -> httpx.Response:
        """Ask one's own notebook server's API."""
        return httpx.request(
            method,
            f"{self.platform.url}/user/{self.name}/api/{path}",
            headers={"Authorization": f"token {self.token}"},
            json=body,
            timeout=60,
        )


@contextmanager
def passable(prefix: str) -> Iterator[Path]:
    """A new folder that other accounts may pass through, as neither pytest's own nor ours need be.

    It must be empty again at the end: nothing is removed that may lie on the other side of a mount.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    folder.chmod(0o755)
    yield folder
    folder.rmdir()


@pytest.fixture(scope="module")
def interpreter() -> Iterator[str]:
    """This environment's interpreter, where other accounts reach it."""
    with passable("arcetri-environment-") as folder:
        subprocess.run(["mount", "-o", "bind,ro", sys.prefix, folder], check=True)
        try:
            yield str(folder / "bin" / "python")
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(scope="module", params=["mounted", "linked"])
def mounted(request: pytest.FixtureRequest) -> bool:
    """Whether the platform may mount; either way nobody gets at what is another's."""
    if request.param == "mounted" and (why := why_not()):
        pytest.skip(f"this machine lets nobody mount: {why}")
    return bool(request.param == "mounted")


@pytest.fixture(scope="module")
def platform(interpreter: str, mounted: bool) -> Iterator[Platform]:
    with passable("arcetri-accounts-") as folder:
        state = folder / "state"
        linked = [] if mounted else ["--no-mounts"]
        with running(state, "--accounts", *linked, python=interpreter) as started:
            yield started
        shutil.rmtree(state)
        state.with_name("state.stderr").unlink()


@pytest.fixture(scope="module")
def alice(platform: Platform, mounted: bool) -> Person:
    session = platform.start_session("alice", flavor="cpu")
    return Person(platform, "alice", platform.token("alice"), session, mounted)


@pytest.fixture(scope="module")
def bruno(platform: Platform, mounted: bool) -> Person:
    session = platform.start_session("bruno", flavor="cpu")
    return Person(platform, "bruno", platform.token("bruno"), session, mounted)


@pytest.fixture(scope="module")
def numbers(platform: Platform, alice: Person, bruno: Person) -> dict[tuple[str, str], int]:
    """The numeric ids in the store, by kind and name, when both have a session."""
    del alice, bruno
    rows = platform.rows("select kind, name, number from arcetri_posix_id")
    return {(kind, name): number for kind, name, number in rows}


def identity(pid: int) -> tuple[int, int, set[int]]:
    """As whom a process runs: its real, effective and saved ids are the same."""
    process = psutil.Process(pid)
    (uid,), (gid,) = set(process.uids()), set(process.gids())
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    groups = next(line for line in status.splitlines() if line.startswith("Groups:"))
    return uid, gid, set(map(int, groups.split()[1:]))


def reading(path: Path) -> str:
    """An attempt to read a file."""
    return f"open({str(path)!r}, 'rb').read().decode()"


def listing(path: Path) -> str:
    """An attempt to list a folder."""
    return f"os.listdir({str(path)!r})"


def test_each_process_is_its_persons_as_the_store_says(
    alice: Person, bruno: Person, numbers: dict[tuple[str, str], int]
) -> None:
    cms, virgo = numbers["group", "/arcetri/cms"], numbers["group", "/arcetri/virgo"]
    for person, their_groups, not_theirs in ((alice, {cms}, {virgo}), (bruno, {cms, virgo}, set())):
        uid, gid, groups = identity(person.server)

        assert uid == numbers["user", person.name]
        assert uid in range(200_000, 300_000)
        assert gid == numbers["group", person.name]
        assert groups >= their_groups
        assert not groups & not_theirs
        assert 0 not in {uid, gid, *groups}
        # What ends the session and frees its device is the platform's.
        assert identity(person.first_process)[0] == 0
    assert identity(alice.server)[0] != identity(bruno.server)[0]


def test_the_account_has_a_name_where_there_are_mounts(alice: Person) -> None:
    known = "[p[::5] for p in __import__('pwd').getpwall() if p.pw_uid == os.getuid()]"
    assert alice.tries({"known": known}) == {
        "known": "[('alice', '/home/alice')]" if alice.mounted else "[]"
    }


def test_what_one_writes_belongs_to_the_stores_numbers(
    alice: Person, numbers: dict[tuple[str, str], int]
) -> None:
    text = {"type": "file", "format": "text", "content": SECRET}
    assert alice.asks("PUT", "contents/home/alice/by-notebook.txt", text).status_code == 201
    home = alice.inside("/home/alice")
    said = alice.tries(
        {
            "me": "os.getuid(), os.getgid()",
            "home": "os.path.samefile(os.environ['HOME'], os.environ['ARCETRI_FOLDER_HOME'])",
            "own": reading(home / "by-notebook.txt"),
            "write": f"open({str(home / 'by-kernel.txt')!r}, 'w').write('x')",
        }
    )

    uid, gid = numbers["user", "alice"], numbers["group", "alice"]
    assert said == {"me": str((uid, gid)), "home": "True", "own": SECRET, "write": "1"}
    for path in (alice.home, alice.home / "by-notebook.txt", alice.home / "by-kernel.txt"):
        assert (path.stat().st_uid, path.stat().st_gid) == (uid, gid)
    assert alice.home.stat().st_mode & 0o777 == 0o700


def test_one_gets_at_nothing_of_anothers_or_the_platforms(
    platform: Platform, alice: Person, bruno: Person, numbers: dict[tuple[str, str], int]
) -> None:
    thesis = alice.home / "thesis.txt"
    seen = str(alice.inside("/home/alice") / "thesis.txt")
    done = alice.tries(
        {
            "write": f"open({seen!r}, 'w').write('x')",
            "let all read it": f"os.chmod({seen!r}, 0o644)",
        }
    )
    assert done == {"write": "1", "let all read it": "None"}
    assert thesis.stat().st_mode & 0o777 == 0o644
    state = platform.state
    files = {
        "list her home": listing(alice.home),
        "read her file": reading(thesis),
        "write there": f"open({str(alice.home / 'new')!r}, 'w')",
        "list all homes": listing(alice.home.parent),
        "list the state folder": listing(state),
        "read the database": reading(state / "arcetri.sqlite"),
        "read a secret": reading(state / "secrets" / "crypt"),
        "read the journal": reading(state / "journal" / "leases.jsonl"),
        "read her session's log": reading(state / "sessions" / str(alice.session) / "log"),
    }
    acts = {
        "read her environment": reading(Path(f"/proc/{alice.server}/environ")),
        "end her session": f"os.kill({alice.server}, 9)",
        "end his own first process": f"os.kill({bruno.first_process}, 9)",
        "become root": "os.setuid(0)",
        "become her": f"os.setuid({numbers['user', 'alice']})",
    }

    refused = bruno.tries(files)
    # With mounts most of it is not even there.
    assert set(refused.values()) <= {
        "PermissionError",
        *(["FileNotFoundError"] if bruno.mounted else []),
    }, refused
    assert refused["list the state folder"] == "PermissionError"
    assert bruno.tries(acts) == dict.fromkeys(acts, "PermissionError")

    for path in ("home/alice/thesis.txt", "../alice/thesis.txt", "home/bruno/../alice/thesis.txt"):
        assert bruno.asks("GET", f"contents/{path}").status_code in (403, 404)
    hers = f"{platform.url}/user/alice/api/contents"
    headers = {"Authorization": f"token {bruno.token}"}
    assert httpx.get(hers, headers=headers, timeout=60).status_code == 403
    assert set(platform.sessions()) == {alice.session, bruno.session}


def test_a_group_folder_is_shared_by_its_group(
    platform: Platform, alice: Person, bruno: Person, numbers: dict[tuple[str, str], int]
) -> None:
    plot = platform.state / "storage" / "shared" / "groups" / "cms" / "plot.txt"
    hers, his = (str(person.inside("/data/cms") / "plot.txt") for person in (alice, bruno))
    assert alice.tries({"write": f"open({hers!r}, 'w').write('plot')"}) == {"write": "4"}

    added = f"open({his!r}, 'a').write(' and more')"
    said = bruno.tries({"read": reading(Path(his)), "add": added})

    assert said == {"read": "plot", "add": "9"}
    assert plot.read_text() == "plot and more"
    assert plot.stat().st_gid == numbers["group", "/arcetri/cms"]


def test_what_is_to_be_read_only_is(alice: Person) -> None:
    data = alice.inside("/data/datasets")

    said = alice.tries({"list": listing(data), "write": f"open({str(data / 'x')!r}, 'w')"})

    assert said["list"] == "[]"
    assert said["write"] in ("PermissionError", "OSError")  # OSError: a read-only file system
