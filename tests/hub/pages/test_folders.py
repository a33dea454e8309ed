"""What the page says of a session's folders."""

from __future__ import annotations

from typing import Any

from arcetri_hub.pages.folders import FolderRow, folder_rows
from arcetri_spawner.backends.base import Folder
from arcetri_spawner.folders.making import Space
from arcetri_spawner.policy.model import MountedVolume, ScratchSpace

GIB = 2**30


def row(folder: Folder) -> FolderRow:
    (found,) = folder_rows([folder])
    return found


def home(**changes: Any) -> MountedVolume:
    values = {"name": "home", "title": "Home", "mount": "/home/alice", "claim": "shared"}
    return MountedVolume(**(values | {"path": "home/alice", "read_only": False} | changes))


def told(room: Space | None, **changes: Any) -> FolderRow:
    return row(Folder(home(**changes), "/home/alice", protected=True, room=room))


def test_room_is_said_where_the_file_system_tells() -> None:
    assert told(None) == FolderRow("/home/alice", "Home")
    assert told(Space(10 * GIB, 3 * GIB, own=True)).room == "3 GiB of 10 GiB free"
    assert told(Space(4096 * GIB, 1536 * GIB)).room == "1.5 TiB free, shared with others"
    # Some file systems tell nothing, and say so with noughts.
    assert told(Space(0, 0)).room == ""
    assert told(Space(GIB, 0), read_only=True).room == ""


def test_a_full_folder_stands_out() -> None:
    full = told(Space(10 * GIB, 1000, own=True))
    assert full.full
    assert full.room == "full: nothing can be saved here until files in it are deleted"
    assert not told(Space(10 * GIB, GIB)).full


def test_scratch_says_its_size_and_where_it_is() -> None:
    scratch = home(name="fast-disk", title="", mount="/scratch", scratch=ScratchSpace(200 * GIB))
    note = ": 200 GiB of this session's own, gone at its end"
    assert row(Folder(scratch, "/scratch", protected=True)) == FolderRow(
        "/scratch", "fast-disk", note
    )
    assert row(Folder(scratch, "", protected=True)).path == "$ARCETRI_FOLDER_FAST_DISK"
