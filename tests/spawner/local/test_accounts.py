"""Sessions as accounts of their own: who can read what, tried by really becoming them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from arcetri_spawner.backends.base import Session
from arcetri_spawner.backends.local import mounts, usernames
from arcetri_spawner.backends.local.accounts import Account
from arcetri_spawner.errors import Conflict
from arcetri_spawner.folders.making import VolumeUnsafeError
from arcetri_spawner.folders.ownership import group_of_volume, private_volumes
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.identity import Numbers
from arcetri_spawner.policy.model import MountedVolume
from tests.spawner.local.world import CMS, FAKE_SERVER, World, facts, interpreter, recovered, run

pytestmark = [
    pytest.mark.component,
    pytest.mark.skipif(os.geteuid() != 0, reason="becoming another account needs root"),
]

DATA = MountedVolume("data", "Data", "/data/cms", "shared", "groups/cms", read_only=True)
WORK = MountedVolume("work", "Work", "/projects/cms", "shared", "groups/cms-work", read_only=False)

CURATE = MountedVolume("data-rw", "Data", "/curate/cms", "shared", "groups/cms", read_only=False)


def home(name: str) -> MountedVolume:
    return MountedVolume("home", "Home", f"/home/{name}", "shared", f"home/{name}", read_only=False)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other accounts may pass through; pytest's own is closed to them."""
    path = Path(tempfile.mkdtemp(prefix="arcetri-accounts-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def world(folder: Path) -> AsyncIterator[World]:
    async with recovered(folder, accounts=True) as made:
        # Neither the tests nor the environment they run in need be readable for everybody.
        server = Path(shutil.copy(FAKE_SERVER, folder))
        made.interpreter = interpreter(folder, "/usr/bin/python3", server)
        yield made


@pytest.fixture
async def mounted(folder: Path) -> AsyncIterator[World]:
    """The same, with a file system of its own for each session."""
    if why := mounts.why_not():
        pytest.skip(f"this machine lets nobody mount: {why}")
    async with recovered(folder, accounts=True, mounts=True) as made:
        server = Path(shutil.copy(FAKE_SERVER, folder))
        made.interpreter = interpreter(folder, "/usr/bin/python3", server)
        yield made


async def begin(world: World, name: str, *volumes: MountedVolume, member: bool) -> Session:
    grant = await world.grant(
        name,
        flavor="cpu",
        volumes=(home(name), *volumes),
        groups=(CMS,) if member else (),
    )
    return await world.start(grant)


def attempt(session: Session, *command: str | Path) -> bool:
    """Whether the session's user can do it."""
    said = facts(session)
    done = subprocess.run(
        [*map(str, command)],
        user=said["uid"],
        group=said["gid"],
        extra_groups=said["groups"],
        umask=0o007,
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


async def test_one_cannot_read_anothers_home(world: World) -> None:
    alice = await begin(world, "alice", member=True)
    bob = await begin(world, "bob", member=True)
    homes = world.config.storage_dir / "shared/home"
    (homes / "alice/thesis").write_text("secret")
    (homes / "alice/thesis").chmod(0o644)

    assert facts(alice)["uid"] != facts(bob)["uid"]
    assert 0 not in (facts(alice)["uid"], *facts(alice)["groups"])
    assert attempt(alice, "cat", homes / "alice/thesis")
    assert not attempt(bob, "cat", homes / "alice/thesis")
    assert not attempt(bob, "ls", homes / "alice")
    assert not attempt(bob, "ls", homes)


async def test_group_folders_are_shared_as_their_mode_says(world: World) -> None:
    alice = await begin(world, "alice", DATA, WORK, member=True)
    bob = await begin(world, "bob", DATA, WORK, member=True)
    carol = await begin(world, "carol", member=False)
    groups = world.config.storage_dir / "shared/groups"
    (groups / "cms/events.root").write_text("data")

    assert attempt(alice, "touch", groups / "cms-work/plot")
    assert attempt(bob, "sh", "-c", f"echo more >> {groups}/cms-work/plot")
    assert attempt(bob, "cat", groups / "cms/events.root")
    assert not attempt(bob, "touch", groups / "cms/other")
    assert not attempt(carol, "ls", groups / "cms-work")
    assert not attempt(carol, "ls", groups / "cms")


@pytest.mark.parametrize("first", ["reader", "curator"])
async def test_one_folder_may_be_read_by_some_and_written_by_others(
    world: World, first: str
) -> None:
    async def reader() -> Session:
        return await begin(world, "alice", DATA, member=True)

    async def curator() -> Session:
        grant = await world.grant(
            "bob",
            flavor="cpu",
            volumes=(home("bob"), CURATE),
            groups=(GroupPath("/lab/cms/data"),),
        )
        return await world.start(grant)

    made = {}
    for name in ("reader", "curator") if first == "reader" else ("curator", "reader"):
        made[name] = await (reader() if name == "reader" else curator())
    events = world.config.storage_dir / "shared/groups/cms/events.root"

    assert attempt(made["curator"], "sh", "-c", f"echo data > {events}")
    assert attempt(made["reader"], "cat", events)
    assert not attempt(made["reader"], "sh", "-c", f"echo more >> {events}")
    assert not attempt(made["reader"], "touch", events.with_name("other"))
    carol = await begin(world, "carol", member=False)
    assert not attempt(carol, "cat", events)


async def test_a_volume_taken_out_of_the_catalog_is_not_guessed_at(world: World) -> None:
    gone = replace(WORK, name="gone", path="groups/gone")

    with pytest.raises(VolumeUnsafeError) as caught:
        await begin(world, "alice", gone, member=True)

    assert caught.value.code == "volume_removed"
    assert not (world.config.storage_dir / "shared/groups/gone").exists()


async def test_a_session_reaches_nothing_of_the_platforms(world: World) -> None:
    alice = await begin(world, "alice", member=True)
    bob = await begin(world, "bob", member=True)
    state = world.config.state_dir

    assert not attempt(alice, "cat", state / "arcetri.sqlite")
    assert not attempt(alice, "ls", state)
    assert not attempt(alice, "cat", world.config.journal_path)
    assert not attempt(alice, "cat", f"/proc/{facts(bob)['pid']}/environ")
    assert not attempt(alice, "kill", str(facts(bob)["pid"]))
    record = await world.store.session(alice.id)
    assert record is not None
    # The keeper is not the user's to kill.
    assert not attempt(alice, "kill", "-9", str(record.pid))


def procs_status(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


async def test_no_privilege_can_be_won_back(world: World) -> None:
    alice = await begin(world, "alice", member=True)

    status = procs_status(facts(alice)["pid"])

    assert "NoNewPrivs:\t1" in status
    assert "CapEff:\t0000000000000000" in status
    assert "CapPrm:\t0000000000000000" in status


async def test_ids_are_the_same_next_time(world: World) -> None:
    first = await begin(world, "alice", member=True)
    uid = facts(first)["uid"]
    await world.backend.stop(first, timedelta(seconds=5))

    grant = await world.grant(
        "alice", flavor="cpu", volumes=(home("alice"),), server_name="again", groups=(CMS,)
    )

    assert facts(await world.start(grant))["uid"] == uid
    assert uid in range(200000, 300000)


async def test_numbers_that_iam_claims_are_those_a_session_runs_with(world: World) -> None:
    world.claims.of["alice"] = Numbers(uid=5001, gids={CMS: 6001})

    alice = await begin(world, "alice", WORK, member=True)
    bob = await begin(world, "bob", WORK, member=True)

    assert facts(alice)["uid"] == 5001
    assert {6001} <= set(facts(alice)["groups"]) & set(facts(bob)["groups"])
    assert facts(bob)["uid"] in range(200000, 300000)
    home_of_alice = world.config.storage_dir / "shared/home/alice"
    assert home_of_alice.stat().st_uid == 5001
    assert (world.config.storage_dir / "shared/groups/cms-work").stat().st_gid == 6001


@pytest.mark.parametrize(
    ("claim", "code", "word"),
    [
        (Numbers(uid=5001), "posix_id_taken", "bob"),
        (Numbers(gids={CMS: 6001}), "posix_id_taken", "/lab/cms"),
        (Numbers(uid=65534), "posix_id_refused", "bob"),
        (Numbers(uid=0), "posix_id_refused", "bob"),
    ],
)
async def test_a_number_that_cannot_be_ones_own_is_refused_in_words(
    world: World, claim: Numbers, code: str, word: str
) -> None:
    ours = GroupPath("/lab/ours")
    world.claims.of = {"alice": Numbers(uid=5001, gids={ours: 6001}), "bob": claim}
    grant = await world.grant("alice", flavor="cpu", volumes=(home("alice"),), groups=(ours,))
    await world.start(grant)

    refused = await world.grant("bob", flavor="cpu", volumes=(home("bob"),), groups=(CMS,))
    with pytest.raises(Conflict) as caught:
        await world.start(refused)
    await world.store.mark(refused.request_id, "ended", reason=caught.value.code)

    assert caught.value.code == code
    assert word in caught.value.message
    assert "IAM" in caught.value.remedy
    assert not (world.config.storage_dir / "shared/home/bob").exists()
    # Once IAM is mended, the next start goes well.
    world.claims.of["bob"] = Numbers()
    assert facts(await begin(world, "bob", member=True))["uid"] in range(200000, 300000)


async def test_a_shared_volume_has_the_group_that_is_granted_it(world: World) -> None:
    catalog = world.catalogs.current.catalog

    assert private_volumes(catalog) == {"home"}
    assert group_of_volume(catalog, "data") == CMS
    assert group_of_volume(catalog, "home") == GroupPath("volume:home")


NAMES = """
import grp, os, pwd
me = pwd.getpwuid(os.getuid())
print(me.pw_name, me.pw_dir, pwd.getpwnam("alice").pw_uid == os.getuid(), pwd.getpwuid(0).pw_name)
print(*(grp.getgrgid(gid).gr_name for gid in (os.getgid(), *os.getgroups())))
"""


async def test_the_account_and_its_groups_have_names_in_the_session(mounted: World) -> None:
    before = usernames.PASSWD.read_bytes(), usernames.GROUP.read_bytes()
    alice = await begin(mounted, "alice", WORK, member=True)

    code, said = run(alice, f"/usr/bin/python3 -I -c '{NAMES}'")

    assert code == 0, said
    me, groups = said.splitlines()
    assert me == "alice /home/alice True root"
    assert set(groups.split()) >= {"/lab/cms", "alice"}
    assert run(alice, "whoami && cd ~alice && pwd") == (0, "alice\n/home/alice\n")
    assert run(alice, "echo 'x:x:0:0::/:' >> /etc/passwd")[0] != 0
    if shutil.which("ssh"):
        code, said = run(alice, "ssh -V")
        assert code == 0, said
    assert (usernames.PASSWD.read_bytes(), usernames.GROUP.read_bytes()) == before


def test_a_name_has_one_number_and_a_number_one_name(tmp_path: Path) -> None:
    account = Account(
        5001, 5002, (6001, 6002), "alice", {CMS: 6001, GroupPath("volume:pub:lic"): 6002}
    )
    machine = (
        "root:x:0:0:root:/root:/bin/sh\n"
        "alice:x:1000:1000::/home/alice:/bin/sh\n"
        "bob:x:5001:9::/home/bob:/bin/sh\n"
        "+::::::\n"
    )

    lines = usernames.passwd(machine, account, tmp_path, ("/no/shell",)).splitlines()

    assert lines == [
        f"alice:x:5001:5002::{tmp_path}:/bin/sh",
        "root:x:0:0:root:/root:/bin/sh",
        "+::::::",
    ]
    assert usernames.group("root:x:0:\nusers:x:6001:\n", account).splitlines() == [
        "alice:x:5002:",
        "/lab/cms:x:6001:alice",
        "volume_pub_lic:x:6002:alice",
        "root:x:0:",
    ]
