"""The folders of a session, as the page lists them: where, what, and how much room. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from arcetri_hub.pages import amounts
from arcetri_spawner.backends.base import Folder
from arcetri_spawner.folders.making import Space, is_full


@dataclass(frozen=True, slots=True)
class FolderRow:
    """One line of the list."""

    path: str
    """What programs open."""
    title: str
    note: str = ""
    """What is to be known of it, from where the title ends."""
    room: str = ""
    """How much fits in; empty where nothing tells."""
    full: bool = False
    """Whether nothing can be saved in it."""


def folder_rows(folders: Iterable[Folder]) -> tuple[FolderRow, ...]:
    """Return the list of a session's folders, in their order."""
    return tuple(_row(folder) for folder in folders)


def _row(folder: Folder) -> FolderRow:
    volume = folder.volume
    path, title = folder.path or volume.mount, volume.title or volume.name
    if volume.scratch is not None:
        if not folder.path:
            path = f"$ARCETRI_FOLDER_{volume.name.upper().replace('-', '_')}"
        size = amounts.size_of(volume.scratch.size)
        return FolderRow(path, title, f": {size} of this session's own, gone at its end")
    if not folder.path:
        why = ": cannot be shown, because it lies inside another of these folders"
        return FolderRow(path, title, why)
    if volume.read_only:
        bare = "" if folder.protected else ", though nothing here stops you from writing"
        return FolderRow(path, title, f", read only{bare}")
    full = is_full(folder.room)
    return FolderRow(path, title, room=_room(folder.room, full=full), full=full)


def _room(room: Space | None, *, full: bool) -> str:
    if room is None or room.size <= 0:
        return ""
    if full:
        return "full: nothing can be saved here until files in it are deleted"
    free = amounts.size_of(room.free)
    if room.own:
        return f"{free} of {amounts.size_of(room.size)} free"
    return f"{free} free, shared with others"
