"""Homes and group folders on claims: whose they are, whatever is in the way, and when it is cut."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from arcetri_spawner.folders import acl, making
from arcetri_spawner.folders.making import VolumeUnsafeError
from arcetri_spawner.killpoints import FOLDER_POINTS, VARIABLE
from arcetri_spawner.provisioner.contract import (
    FolderReport,
    FoldersRequest,
    Members,
    Person,
    Place,
    SpaceRequest,
    Wanted,
)
from arcetri_spawner.provisioner.faults import FolderTrouble
from arcetri_spawner.provisioner.work import Claims
from tests.support.faults import fill, small_disk

pytestmark = [
    pytest.mark.component,
    pytest.mark.skipif(os.geteuid() != 0, reason="giving folders to people needs root"),
]

ALICE = Person(username="alice", uid=200000, gid=200000)
BOB = Person(username="bob", uid=200001, gid=200001)
CMS, ATLAS = 300000, 300001
HOME = Wanted(volume="home", claim="shared", path=("home", "alice"))
WORK = Wanted(
    volume="work", claim="shared", path=("groups", "cms"), groups=(Members(gid=CMS, write=True),)
)
DATA = Wanted(
    volume="data", claim="shared", path=("data", "cms"), groups=(Members(gid=CMS, write=False),)
)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """The claim ``shared``."""
    folder = tmp_path / "claims" / "shared"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def claims(shared: Path) -> Claims:
    return Claims(shared.parent, mounted=False, patience=0.2)


def make(claims: Claims, *wanted: Wanted, person: Person = ALICE) -> list[FolderReport]:
    return list(claims.make(FoldersRequest(person=person, folders=wanted)).folders)


def owned(path: Path) -> tuple[int, int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)


def can(person: Person, *groups: int, command: str) -> bool:
    """Whether somebody with these groups can do it."""
    done = subprocess.run(
        ["sh", "-ec", command],
        user=person.uid,
        group=person.gid,
        extra_groups=list(groups),
        umask=0o022,
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def test_a_home_is_its_persons_alone_and_a_group_folder_its_groups(
    claims: Claims, shared: Path
) -> None:
    reports = make(claims, HOME, WORK, DATA)
    assert [report.made for report in reports] == [True, True, True]
    assert owned(shared / "home/alice") == (200000, 200000, 0o700)
    assert owned(shared / "groups/cms") == (0, CMS, 0o2770)
    assert owned(shared / "data/cms") == (0, CMS, 0o2750)
    assert owned(shared / "home") == (0, 0, 0o711)
    assert all(report.room and report.room.size > 0 for report in reports)


def test_a_second_call_changes_nothing(claims: Claims, shared: Path) -> None:
    make(claims, HOME, WORK)
    (shared / "home/alice/thesis").write_text("42")
    (shared / "home/alice").chmod(0o755)
    (shared / "groups/cms").chmod(0o2775)
    (shared / "groups/cms/plot").write_text("42")
    reports = make(claims, HOME, WORK)
    assert [report.made for report in reports] == [False, False]
    assert owned(shared / "home/alice") == (200000, 200000, 0o755)
    assert owned(shared / "groups/cms") == (0, CMS, 0o2775)


def test_a_file_of_one_member_is_anothers_to_write(shared: Path, claims: Claims) -> None:
    open_way(shared)
    make(claims, WORK)
    plot = shared / "groups/cms/plot"
    assert can(ALICE, CMS, command=f"echo a > {plot}")
    assert can(BOB, CMS, command=f"echo b >> {plot}")
    assert owned(plot)[:2] == (200000, CMS)
    assert not can(BOB, ATLAS, command=f"cat {plot}")


def test_several_groups_have_what_the_catalog_gives_each(shared: Path, claims: Claims) -> None:
    open_way(shared)
    first = Members(gid=CMS, write=True)
    wanted = WORK.model_copy(update={"groups": (first, Members(gid=ATLAS, write=False))})
    make(claims, WORK)
    (shared / "groups/cms/old").write_text("42")
    # A group that comes later gets in too, though the folder has content by then.
    make(claims, wanted)
    plot = shared / "groups/cms/plot"
    assert can(ALICE, CMS, command=f"echo a > {plot}")
    assert can(BOB, ATLAS, command=f"cat {plot}")
    assert not can(BOB, ATLAS, command=f"echo b >> {plot}")


def open_way(folder: Path) -> None:
    """Let other accounts pass to a folder of pytest's."""
    for path in (folder, *folder.parents):
        if path.stat().st_uid == 0 and path.stat().st_mode & 0o011 != 0o011:
            path.chmod(path.stat().st_mode | 0o011)


@pytest.mark.parametrize("target", ["../home/bob", "/etc", "nowhere"])
def test_a_planted_link_leads_nowhere(claims: Claims, shared: Path, target: str) -> None:
    make(claims, WORK, Wanted(volume="home", claim="shared", path=("home", "bob")), person=BOB)
    before = owned(shared / "home/bob"), owned(Path("/etc"))
    (shared / "groups/cms/alice").symlink_to(target)
    (shared / "home/alice").symlink_to(target)
    below = Wanted(volume="mine", claim="shared", path=("groups", "cms", "alice"))
    deeper = Wanted(volume="deep", claim="shared", path=("groups", "cms", "alice", "deep"))
    for wanted in (HOME, below, deeper):
        with pytest.raises(VolumeUnsafeError, match="is no folder"):
            make(claims, wanted)
    assert (owned(shared / "home/bob"), owned(Path("/etc"))) == before
    assert not (shared / "nowhere").exists()
    assert [p.name for p in (shared / "home/bob").iterdir()] == []


def test_a_file_in_a_homes_place_is_said(claims: Claims, shared: Path) -> None:
    (shared / "home").mkdir()
    (shared / "home/alice").write_text("")
    with pytest.raises(VolumeUnsafeError, match="alice is no folder"):
        make(claims, HOME)


def test_what_is_somebody_elses_stays_theirs(claims: Claims, shared: Path) -> None:
    home = shared / "home/alice"
    home.mkdir(parents=True)
    for owner in (0, 5000):
        (home / "letters").write_text("private")
        os.chown(home, owner, owner)
        with pytest.raises(VolumeUnsafeError, match="another account") as error:
            make(claims, HOME)
        assert "chown -R 200000:200000" in error.value.remedy
        assert owned(home)[:2] == (owner, owner)
    (home / "letters").unlink()
    with pytest.raises(VolumeUnsafeError):
        make(claims, HOME)


def test_an_empty_folder_of_the_platforms_is_given_away(claims: Claims, shared: Path) -> None:
    # The kubelet leaves such a one where it finds none.
    (shared / "home/alice").mkdir(parents=True, mode=0o755)
    (report,) = make(claims, HOME)
    assert not report.made
    assert owned(shared / "home/alice") == (200000, 200000, 0o700)


def test_data_that_was_there_before_may_be_anybodys(claims: Claims, shared: Path) -> None:
    (shared / "data/cms").mkdir(parents=True)
    (shared / "data/cms/events").write_text("42")
    os.chown(shared / "data/cms", 5000, 5001)
    (report,) = make(claims, DATA)
    assert not report.made
    assert owned(shared / "data/cms")[:2] == (5000, 5001)


def test_a_claims_root_is_the_operators(claims: Claims, shared: Path) -> None:
    whole = WORK.model_copy(update={"path": ()})
    before = owned(shared)
    (report,) = make(claims, whole)
    assert (report.made, owned(shared)) == (False, before)


@pytest.mark.parametrize("point", FOLDER_POINTS)
@pytest.mark.parametrize("wanted", [HOME, WORK], ids=["home", "group"])
def test_a_kill_in_between_is_made_good_by_the_next_call(
    claims: Claims, shared: Path, point: str, wanted: Wanted
) -> None:
    request = FoldersRequest(person=ALICE, folders=(wanted,))
    script = (
        "import sys; from pathlib import Path\n"
        "from arcetri_spawner.provisioner.contract import FoldersRequest\n"
        "from arcetri_spawner.provisioner.work import Claims\n"
        "request = FoldersRequest.model_validate_json(sys.argv[2])\n"
        "Claims(Path(sys.argv[1]), mounted=False).make(request)\n"
    )
    # Each folder on the way has the first of the points as well: one kill a call.
    ends = []
    for _ in range(4):
        done = subprocess.run(
            [sys.executable, "-c", script, str(shared.parent), request.model_dump_json()],
            env={**os.environ, VARIABLE: point},
            check=False,
        )
        ends.append(done.returncode)
    assert -9 in ends
    make(claims, wanted)
    expected = (200000, 200000, 0o700) if wanted is HOME else (0, CMS, 0o2770)
    assert owned(shared.joinpath(*wanted.path)) == expected


def test_many_calls_at_once_make_one_folder(claims: Claims, shared: Path) -> None:
    start = Event()

    def call(_: int) -> bool:
        start.wait(5)
        return make(claims, HOME, WORK)[0].made

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(call, number) for number in range(8)]
        start.set()
        made = [one.result(10) for one in calls]
    assert made.count(True) == 1
    assert owned(shared / "home/alice") == (200000, 200000, 0o700)


def test_a_claim_that_is_not_there_is_said(claims: Claims, shared: Path) -> None:
    with pytest.raises(FolderTrouble) as error:
        make(claims, HOME.model_copy(update={"claim": "other"}))
    assert error.value.code == "claim_not_served"
    # Nothing is mounted on this folder: what is made there would go with the container.
    with pytest.raises(FolderTrouble) as error:
        make(Claims(shared.parent), HOME)
    assert error.value.code == "claim_not_served"
    assert list(shared.iterdir()) == []


def test_a_full_disk_refuses_new_homes_and_keeps_those_that_are_there(tmp_path: Path) -> None:
    root = tmp_path / "claims"
    root.mkdir()
    with small_disk(root / "shared", 1, inodes=4):
        claims = Claims(root)
        make(claims, HOME)
        fill(root / "shared")
        (report,) = make(claims, HOME)
        assert report.room is not None
        assert (report.room.size, report.room.free, report.room.own) == (1 << 20, 0, False)
        other = Wanted(volume="home", claim="shared", path=("home", "bob"))
        with pytest.raises(FolderTrouble) as error:
            make(claims, other, person=BOB)
        assert (error.value.code, error.value.status) == ("claim_full", 503)
        assert not (root / "shared/home/bob").exists()


def test_a_read_only_file_system_is_said_where_something_is_missing(tmp_path: Path) -> None:
    root = tmp_path / "claims"
    root.mkdir()
    with small_disk(root / "shared", 1):
        claims = Claims(root)
        make(claims, HOME, WORK)
        remount = ["mount", "-o", "remount,ro", str(root / "shared")]
        subprocess.run(remount, check=True)
        make(claims, HOME, WORK)
        with pytest.raises(FolderTrouble) as error:
            make(claims, DATA)
        assert error.value.code == "storage_read_only"


def test_a_process_that_may_not_give_folders_away_says_so(shared: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from arcetri_spawner.provisioner.contract import *\n"
        "from arcetri_spawner.provisioner.work import Claims\n"
        "request = FoldersRequest(person=Person(username='alice', uid=200000, gid=200000),\n"
        "    folders=(Wanted(volume='home', claim='shared', path=('home', 'alice')),))\n"
        "try: Claims(Path(sys.argv[1]), mounted=False).make(request)\n"
        "except Exception as error: print(error.code, error)\n"
    )
    drop = ["setpriv", "--bounding-set=-chown", "--inh-caps=-chown"]
    done = subprocess.run(
        [*drop, sys.executable, "-c", script, str(shared.parent)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("storage_squashed ")
    assert "root squash" in done.stdout


def test_a_file_system_that_makes_folders_as_another_is_said(
    claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.mkdir

    def squashed(path: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        real(path, mode, dir_fd=dir_fd)
        os.chown(path, 65534, 65534, dir_fd=dir_fd)

    monkeypatch.setattr(making.os, "mkdir", squashed)
    with pytest.raises(FolderTrouble) as error:
        make(claims, HOME)
    assert error.value.code == "storage_squashed"


def test_several_groups_need_access_lists(
    claims: Claims, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(acl.os, "setxattr", none)
    make(claims, WORK)
    assert owned(shared / "groups/cms") == (0, CMS, 0o2770)
    others = (Members(gid=CMS, write=True), Members(gid=ATLAS, write=True))
    with pytest.raises(FolderTrouble) as error:
        make(claims, WORK.model_copy(update={"groups": others}))
    assert error.value.code == "storage_no_lists"


def test_storage_that_hangs_stops_nobody_else(
    claims: Claims, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging, real = Event(), making.make

    def hang(base: Path, *args: object, **kwargs: object) -> making.Outcome:
        if base.name == "shared":
            hanging.wait(30)
        return real(base, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(making, "make", hang)
    (shared.parent / "other").mkdir()
    with ThreadPoolExecutor(9) as pool:
        stuck = [pool.submit(make, claims, HOME) for _ in range(8)]
        until_all_wait = Event()
        until_all_wait.wait(0.2)
        with pytest.raises(FolderTrouble) as error:
            make(claims, HOME)
        assert error.value.code == "storage_away"
        make(claims, HOME.model_copy(update={"claim": "other"}))
        hanging.set()
        for one in stuck:
            one.result(10)


def test_room_is_told_of_what_is_there_and_of_nothing_else(claims: Claims, shared: Path) -> None:
    make(claims, HOME)
    places = (
        Place(volume="home", claim="shared", path=("home", "alice")),
        Place(volume="none", claim="shared", path=("home", "nobody")),
        Place(volume="away", claim="away", path=("home",)),
    )
    (home, none, away) = claims.space(SpaceRequest(folders=places)).folders
    assert home.room is not None
    assert home.room.size == shutil.disk_usage(shared).total
    assert (none.room, away.room) == (None, None)
    assert not (shared / "home/nobody").exists()


@pytest.fixture(autouse=True)
def same_umask() -> Iterator[None]:
    """As the service sets it."""
    before = os.umask(0o077)
    yield
    os.umask(before)
