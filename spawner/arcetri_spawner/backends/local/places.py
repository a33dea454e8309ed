"""Where a session finds its volumes: at the catalog's places, or linked below its person's view.

One function for the page before a start, the start itself and the session's environment, so that
they cannot disagree.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from arcetri_spawner.backends.base import Folder
from arcetri_spawner.backends.local.config import LocalConfig
from arcetri_spawner.backends.local.interpreter import DEFAULT
from arcetri_spawner.backends.local.mounts import Mount, can_hold
from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.policy.model import MountedVolume


def place(
    username: str, volumes: Sequence[MountedVolume], config: LocalConfig, catalog: Catalog
) -> tuple[Folder, ...]:
    """Say where each volume is found, in the order given; reads folders of the machine.

    A place that cannot be used on this machine (it would hide what is needed, or lies in a folder
    that cannot be made anew) is found below the person's view instead.
    """
    view = config.views_dir / username
    protected = config.mounts or config.accounts
    mounts = {PurePosixPath(volume.mount) for volume in volumes}
    usable = _usable(mounts, config, catalog) if config.mounts else set()
    folders = []
    for volume in volumes:
        mount = PurePosixPath(volume.mount)
        path = volume.mount if mount in usable else str(view / volume.mount.lstrip("/"))
        # Inside another volume nothing is made: the outer one stays as it is. A view is one for all
        # sessions of a person, and scratch each session's own: there only a variable names it.
        shown = mounts.isdisjoint(mount.parents) and (config.mounts or volume.scratch is None)
        folders.append(Folder(volume, path if shown else "", protected))
    return tuple(folders)


def needed(config: LocalConfig, catalog: Catalog) -> frozenset[Path]:
    """What no mount may hide: the state folder, and what the interpreters belong to."""
    locals_ = {environment.local for environment in catalog.environments.values()}
    interpreters = {config.python, *(Path(one) for one in locals_ - {None, DEFAULT} if one)}
    found = {config.state_dir, Path(sys.prefix), Path(sys.base_prefix)}
    for interpreter in interpreters | {path.resolve() for path in interpreters}:
        # PREFIX/bin/python, or the prefix itself.
        found.add(interpreter if interpreter.is_dir() else interpreter.parent.parent)
    return frozenset(found | {path.resolve() for path in found})


def _usable(
    mounts: Iterable[PurePosixPath], config: LocalConfig, catalog: Catalog
) -> set[PurePosixPath]:
    """The mounts that can be at their places on this machine."""
    needed_paths = needed(config, catalog)
    ways: dict[PurePosixPath, bool] = {PurePosixPath("/"): True}

    def holds(folder: PurePosixPath) -> bool:
        if folder not in ways:
            ways[folder] = can_hold(Path(folder))
        return ways[folder]

    return {
        mount
        for mount in mounts
        if not mount.is_relative_to(config.state_dir)
        and not any(path.is_relative_to(mount) for path in needed_paths)
        and all(holds(folder) for folder in mount.parents)
    }


def mounts_of(folders: Iterable[Folder], sources: Mapping[str, Path]) -> list[Mount]:
    """The volumes that are mounted at the catalog's places.

    Args:
        folders: Where each is found.
        sources: By volume name, where each really is.
    """
    return [
        Mount(folder.path, sources[folder.volume.name], folder.volume.read_only)
        for folder in folders
        if folder.path == folder.volume.mount
    ]


def shown_in_view(folders: Iterable[Folder], sources: Mapping[str, Path]) -> list[Mount]:
    """The volumes that are mounted below the person's view, their places being no use here."""
    return [
        Mount(folder.path, sources[folder.volume.name], folder.volume.read_only)
        for folder in folders
        if folder.path not in ("", folder.volume.mount)
    ]


def links(folders: Iterable[Folder], view: Path) -> dict[Path, str]:
    """Links below the person's view that lead to the places of what is mounted there."""
    return {
        view / folder.path.lstrip("/"): folder.path
        for folder in folders
        if folder.path == folder.volume.mount
    }


def with_scratch(folders: Iterable[Folder], sources: Mapping[str, Path]) -> tuple[Folder, ...]:
    """Name the scratch that has no place of its own by where it really is."""
    return tuple(
        replace(folder, path=str(sources[folder.volume.name]))
        if folder.volume.scratch and not folder.path
        else folder
        for folder in folders
    )


def variables(folders: Iterable[Folder]) -> dict[str, str]:
    """An environment variable for each volume, such as ``ARCETRI_FOLDER_CMS``."""
    return {
        f"ARCETRI_FOLDER_{folder.volume.name.upper().replace('-', '_')}": folder.path
        for folder in folders
        if folder.path
    }
