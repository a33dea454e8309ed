"""Volumes at the catalog's places: really there, read only where it says so, and nowhere else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from arcetri_spawner.backends.local import mounts, places
from arcetri_spawner.backends.local.config import LocalConfig
from arcetri_spawner.catalog import CatalogHolder
from arcetri_spawner.policy.model import MountedVolume
from tests.spawner.local.world import (
    CMS,
    FAKE_SERVER,
    HOME,
    World,
    catalog_text,
    facts,
    interpreter,
    recovered,
    run,
)

pytestmark = [
    pytest.mark.component,
    pytest.mark.skipif(
        bool(WHY := mounts.why_not()), reason=f"this machine lets nobody mount: {WHY}"
    ),
]

DATA = MountedVolume("data", "Data", "/data/cms", "shared", "groups/cms", read_only=True)
WORK = MountedVolume("work", "Work", "/projects/cms", "shared", "groups/cms-work", read_only=False)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with recovered(tmp_path, mounts=True) as made:
        yield made


async def test_volumes_are_at_the_catalogs_places(world: World) -> None:
    session = await world.start(await world.grant(volumes=(HOME, DATA, WORK), group=CMS))
    storage = world.config.storage_dir
    (storage / "shared/groups/cms/events.root").write_text("data")

    said = facts(session)
    assert said["cwd"] == said["env"]["HOME"] == "/home/alice"
    assert said["env"]["ARCETRI_FOLDER_DATA"] == "/data/cms"
    assert run(session, "cat /data/cms/events.root") == (0, "data")
    assert run(session, "echo 42 > /projects/cms/plot && echo 43 > ~/result")[0] == 0
    assert (storage / "shared/groups/cms-work/plot").read_text() == "42\n"
    assert (storage / "shared/home/alice/result").read_text() == "43\n"
    root = said["env"]["JUPYTERHUB_ROOT_DIR"]
    assert run(session, f"cat {root}/home/alice/result {root}/data/cms/events.root") == (
        0,
        "43\ndata",
    )


async def test_read_only_is_read_only(world: World) -> None:
    session = await world.start(await world.grant(volumes=(HOME, DATA), group=CMS))

    for script in (
        "touch /data/cms/other",
        'touch "$JUPYTERHUB_ROOT_DIR/data/cms/other"',
        "umount /data/cms && touch /data/cms/other",
        "mount -o remount,bind,rw /data/cms && touch /data/cms/other",
    ):
        code, said = run(session, script)
        assert code != 0, said
    assert list((world.config.storage_dir / "shared/groups/cms").iterdir()) == []


def names(folder: str) -> set[str]:
    return {path.name for path in Path(folder).iterdir()}


def machine() -> tuple[str, set[str]]:
    """What the machine has mounted, and what is at its root."""
    return Path("/proc/self/mounts").read_text(), names("/")


async def test_nothing_of_the_machine_changes_and_nothing_is_left(world: World) -> None:
    before = machine()
    session = await world.start(await world.grant(volumes=(HOME, DATA), group=CMS))

    assert machine() == before
    # What the machine has is there beside the mounts.
    code, said = run(session, "ls -A / /home")
    assert code == 0
    assert {*before[1], "data", *names("/home"), "alice"} <= set(said.split())

    await world.backend.stop(session, timedelta(seconds=5))

    assert machine() == before
    folder = world.config.sessions_dir / str(session.id)
    assert names(str(folder)) == {"log"}


async def test_of_the_state_folder_only_what_is_its_own_is_seen(world: World) -> None:
    for name in ("secrets", "logs"):
        (world.state / name).mkdir()
    (world.state / "secrets/crypt").write_text("key")
    bob = await world.start(await world.grant("bob", volumes=()))
    alice = await world.start(await world.grant("alice", volumes=(HOME,)))

    code, said = run(alice, f"ls {world.state} {world.state}/sessions")

    assert code == 0
    assert "secrets" not in said
    assert "arcetri.sqlite" not in said
    assert str(alice.id) in said
    assert str(bob.id) not in said
    assert run(alice, f"cat {world.state}/secrets/crypt")[0] != 0
    assert run(alice, f"ls {world.config.storage_dir}")[0] != 0


async def test_a_place_that_would_hide_what_is_needed_is_not_used(world: World) -> None:
    # The state folder lies below it, as the clone of somebody who works on the machine would.
    over = MountedVolume("over", "Over", str(world.folder.parent), "shared", "x", read_only=True)

    (told,) = await world.backend.folders("alice", [over])
    session = await world.start(await world.grant(volumes=(HOME, over)))

    assert told.path == str(world.config.views_dir / f"alice{over.mount}")
    assert told.protected
    assert run(session, f"ls {told.path}") == (0, "")
    assert run(session, f"touch {told.path}/x")[0] != 0


async def test_a_volume_inside_another_is_told_not_to_be_shown(world: World) -> None:
    outer = MountedVolume("all", "All", "/data", "shared", "groups", read_only=True)

    inner_told, outer_told = await world.backend.folders("alice", [DATA, outer])
    session = await world.start(await world.grant(volumes=(HOME, DATA, outer)))

    assert (inner_told.path, outer_told.path) == ("", "/data")
    assert "ARCETRI_FOLDER_DATA" not in facts(session)["env"]
    assert run(session, "ls /data/cms") == (0, "")


@pytest.mark.parametrize(
    "closed", [{"mode": 0o777}, {"mode": 0o700}, {"file": True}, {"entries": 600}]
)
def test_a_folder_that_cannot_be_made_anew_holds_no_mount(
    tmp_path: Path, closed: dict[str, int]
) -> None:
    folder = tmp_path / "way"
    if closed.get("file"):
        folder.write_text("")
    else:
        folder.mkdir()
        for number in range(closed.get("entries", 0)):
            (folder / str(number)).touch()
        folder.chmod(closed.get("mode", 0o755))

    assert not mounts.can_hold(folder)
    assert mounts.can_hold(tmp_path / "missing")


def test_without_mounts_everything_is_below_the_view(tmp_path: Path) -> None:
    profiles = tmp_path / "profiles.yaml"
    profiles.write_text(catalog_text())
    config = LocalConfig(state_dir=tmp_path / "state", instance_id="0" * 16)

    found = places.place("alice", [HOME, DATA], config, CatalogHolder(profiles).current.catalog)

    view = tmp_path / "state/view/alice"
    assert [folder.path for folder in found] == [f"{view}/home/alice", f"{view}/data/cms"]
    assert not any(folder.protected for folder in found)


# -- As other accounts ---------------------------------------------------------------------------


def _closed_to_others() -> list[Path]:
    here = [Path(sys.executable), Path(__file__)]
    return [p for path in here for p in path.parents if not p.stat().st_mode & 0o001]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other accounts may pass through; pytest's own is closed to them."""
    if os.geteuid() != 0:
        pytest.skip("becoming another account needs root")
    path = Path(tempfile.mkdtemp(prefix="arcetri-mounts-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


async def test_accounts_keep_their_mounts_and_their_rights(open_folder: Path) -> None:
    async with recovered(open_folder, accounts=True, mounts=True) as world:
        server = Path(shutil.copy(FAKE_SERVER, open_folder))
        world.interpreter = interpreter(open_folder, "/usr/bin/python3", server)
        sessions = {}
        for name in ("alice", "bob"):
            home = MountedVolume("home", "Home", f"/home/{name}", "shared", f"home/{name}", False)
            grant = await world.grant(name, flavor="cpu", volumes=(home, DATA, WORK), groups=(CMS,))
            sessions[name] = await world.start(grant)
        alice, bob = sessions["alice"], sessions["bob"]

        assert run(alice, "id -u")[1].strip() == str(facts(alice)["uid"]) != "0"
        assert run(alice, "echo 1 > ~/mine && echo 1 > /projects/cms/ours")[0] == 0
        assert run(bob, "cat /projects/cms/ours") == (0, "1\n")
        assert run(bob, "touch /data/cms/x")[0] != 0
        hers = f"/home/alice/mine {world.config.storage_dir}/shared/home/alice/mine"
        for path in hers.split():
            assert run(bob, f"cat {path}")[0] != 0
        status = run(alice, "cat /proc/self/status")[1]
        assert "CapEff:\t0000000000000000" in status
        assert "NoNewPrivs:\t1" in status


ORDINARY = """
import ctypes, json, os, pathlib, subprocess, sys, time
sys.path[:0] = json.loads(sys.argv[2])
from arcetri_spawner.backends.local import keeper, mounts

assert os.geteuid() == 4242
assert mounts.why_not() == "", mounts.why_not()
state = pathlib.Path(sys.argv[1])
for name in ("home", "data", "secrets", "session"):
    (state / name).mkdir()
plan = mounts.plan(
    state / "session",
    state,
    [mounts.Mount("/home/alice", state / "home", False),
     mounts.Mount("/data/cms", state / "data", True)],
    kept=[state / "session"],
)
child = os.fork()
if child == 0:
    keeper._loaded("room.py").enter(json.loads(json.dumps(plan)))
    os.execve("/bin/sh", ["/bin/sh", "-c", sys.argv[3]], {"MARK": "of the session"})
# The platform, outside, must know its own again, and be able to end it.
until = time.monotonic() + 20
while b"MARK=of the session" not in pathlib.Path(f"/proc/{child}/environ").read_bytes():
    assert time.monotonic() < until
    time.sleep(0.01)
os.listdir(f"/proc/{child}/fd")
while not (state / "home/done").exists():
    assert time.monotonic() < until
    time.sleep(0.01)
os.kill(child, 9)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
print((state / "home/done").read_text())
"""


def test_without_any_privilege_a_session_has_its_mounts_too(open_folder: Path) -> None:
    if closed := _closed_to_others():
        pytest.skip(f"other accounts cannot reach the interpreter: {closed[0]} is closed to them")
    if Path("/proc/sys/user/max_user_namespaces").read_text().strip() == "0":
        pytest.skip("this machine has no user namespaces")
    state = open_folder / "state"
    state.mkdir()
    os.chown(state, 4242, 4242)
    said = open_folder / "ordinary.py"
    said.write_text(ORDINARY)
    script = (
        f"cd /home/alice; {{ id -u; touch /data/cms/x; touch /data/x; ls {state}; "
        "grep CapEff /proc/self/status; } >log 2>&1; mv log done; exec sleep 100"
    )

    done = subprocess.run(
        [sys.executable, str(said), str(state), json.dumps([p for p in sys.path if p]), script],
        user=4242,
        group=4242,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    uid, refused, way, shown, rights = done.stdout.strip().splitlines()
    assert uid == "4242"
    assert "Read-only file system" in refused
    assert "Read-only file system" in way
    assert shown == "session"
    assert rights.split()[1] == "0" * 16
