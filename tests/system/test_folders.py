"""What the page says of folders holds in the session that is then started."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from arcetri_spawner.backends.local.mounts import why_not
from tests.support.platform import Platform, running

pytestmark = pytest.mark.component


@pytest.fixture
def session(platform: Platform) -> Iterator[httpx.Client]:
    """The REST API of a session of alice's."""
    if why := why_not():
        pytest.skip(f"this machine lets nobody mount: {why}")
    with server_of(platform, "alice") as client:
        yield client


def server_of(platform: Platform, name: str) -> httpx.Client:
    token = platform.token(name)
    platform.start_session(name, flavor="cpu")
    return httpx.Client(
        base_url=f"{platform.url}/user/{name}/api",
        headers={"Authorization": f"token {token}"},
        timeout=60,
    )


def promised(platform: Platform, name: str) -> dict[str, str]:
    """The folders that the spawn page lists, and what it says of each."""
    with platform.login(name) as client:
        page = client.get(f"/hub/spawn/{name}/another").text
    (listed,) = re.findall(r'<section class="mounts".*?</section>', page, re.DOTALL)
    found = re.findall(r"<code>([^<]*)</code>\s*<span>(.*?)</span>", listed, re.DOTALL)
    return {html.unescape(path): " ".join(text.split()) for path, text in found}


def seen_by(platform: Platform) -> Path:
    """The file system as the one session sees it."""
    (pid,) = {
        process.pid
        for pids in platform.sessions().values()
        for process in map(psutil.Process, pids)
        if "jupyterhub.singleuser" in process.cmdline()
    }
    return Path(f"/proc/{pid}/root")


def test_folders_are_where_the_page_promises(platform: Platform, session: httpx.Client) -> None:
    folders = promised(platform, "alice")

    assert folders == {
        "/home/alice": "Your home",
        "/data/datasets": "Common datasets, read only",
        "/data/cms": "CMS group folder",
    }
    root = seen_by(platform)
    for path in folders:
        assert (root / path.lstrip("/")).is_dir(), path
    storage = platform.state / "storage"
    note = {"type": "file", "format": "text", "content": "E = mc2"}
    assert session.put("/contents/data/cms/note.txt", json=note).status_code == 201
    assert (storage / "shared/groups/cms/note.txt").read_text() == "E = mc2"
    assert session.put("/contents/home/alice/note.txt", json=note).status_code == 201
    assert (storage / "shared/home/alice/note.txt").read_text() == "E = mc2"
    # What one can only read stays as it is; a file beside the folders would be lost with the
    # session, and so is refused.
    for path in ("/contents/data/datasets/note.txt", "/contents/note.txt"):
        assert session.put(path, json=note).status_code >= 400
    assert list((storage / "datasets").iterdir()) == []


def test_a_session_finds_neither_keys_nor_other_peoples_folders(
    platform: Platform, session: httpx.Client
) -> None:
    assert session.get("/contents/home").status_code == 200
    state = seen_by(platform) / str(platform.state).lstrip("/")

    assert (platform.state / "secrets/crypt").exists()
    assert {path.name for path in state.iterdir()} == {"python", "sessions", "view"}


def test_without_mounts_the_page_shows_the_places_there_are(tmp_path: Path) -> None:
    with running(tmp_path / "state", "--no-mounts") as platform:
        folders = promised(platform, "alice")

        view = platform.state / "view/alice"
        told = "Common datasets, read only, though nothing here stops you from writing"
        assert folders[f"{view}/data/datasets"] == told
        assert set(folders) == {
            f"{view}{mount}" for mount in ("/home/alice", "/data/datasets", "/data/cms")
        }
        with server_of(platform, "alice") as session:
            assert session.get("/contents/data/cms").status_code == 200
        assert all(Path(path).is_dir() for path in folders)
