"""Makes what was asked for, below the folder where the claims are mounted."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

import structlog

from arcetri_spawner.folders import acl, making
from arcetri_spawner.folders.making import Owner, Space, VolumeUnsafeError
from arcetri_spawner.provisioner import faults
from arcetri_spawner.provisioner.contract import (
    FolderReport,
    FoldersRequest,
    Person,
    Place,
    Report,
    Room,
    SpaceRequest,
    Wanted,
)

log = structlog.get_logger(__name__)

WAY: Final = 0o711
"""Mode of folders on the way: people pass through to their own, and see no others' names."""
AT_ONCE: Final = 8
"""Calls on one claim at the same time."""
PATIENCE: Final = 10.0
"""Seconds a call waits for its turn."""

T = TypeVar("T")


class Claims:
    """The claims that are mounted below one folder.

    Args:
        root: Each claim is mounted on a folder below it, by the claim's name.
        mounted: Insist that something is mounted there: else homes would be made in the
            container, and be gone with it.
        patience: Seconds that a call waits while others keep a claim busy.
    """

    def __init__(self, root: Path, *, mounted: bool = True, patience: float = PATIENCE) -> None:
        self._root = root
        self._mounted = mounted
        self._patience = patience
        self._turns: dict[str, threading.Semaphore] = {}
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """The claims that are there."""
        with contextlib.suppress(OSError):
            return sorted(entry.name for entry in os.scandir(self._root) if entry.is_dir())
        return []

    def make(self, request: FoldersRequest) -> Report:
        """Make each folder that is missing.

        Raises:
            FolderTrouble: One could not be made ready; those before it are.
            VolumeUnsafeError: One is no folder, or somebody else's.
        """
        return Report(folders=tuple(self._make(request.person, one) for one in request.folders))

    def space(self, request: SpaceRequest) -> Report:
        """Say how much room each folder has, as far as it is known; nothing is made."""
        return Report(folders=tuple(self._room_of(one) for one in request.folders))

    def _make(self, person: Person, wanted: Wanted) -> FolderReport:
        if not wanted.path:
            return self._room_of(wanted)

        def work(base: Path) -> making.Outcome:
            return making.make(base, wanted.path, way=WAY, owner=owner_of(person, wanted))

        done = self._on(wanted, work)
        if done.made:
            log.info("folder made", folder=_shown(wanted), person=person.username)
        return FolderReport(volume=wanted.volume, made=done.made, room=_told(done.space))

    def _room_of(self, place: Place) -> FolderReport:
        try:
            found = self._on(place, lambda base: making.room(base, place.path))
        except (faults.FolderTrouble, VolumeUnsafeError) as error:
            log.info("room is not known", folder=_shown(place), why=str(error))
            found = None
        return FolderReport(volume=place.volume, room=_told(found))

    def _on(self, place: Place, work: Callable[[Path], T]) -> T:
        claim, folder = place.claim, _shown(place)
        with self._turn(claim):
            base = self._root / claim
            try:
                # A mount that is dead says so here, and one that is missing was never there.
                there = base.is_dir() if not self._mounted else os.path.ismount(base)
                base.stat()
            except FileNotFoundError:
                there = False
            except OSError as error:
                raise faults.of_error(error, folder, claim) from error
            if not there:
                raise faults.not_served(claim)
            try:
                return work(base)
            except OSError as error:
                raise faults.of_error(error, folder, claim) from error

    @contextlib.contextmanager
    def _turn(self, claim: str) -> Iterator[None]:
        """Bound what waits for one claim: a file system that hangs must not stop the others."""
        with self._lock:
            turn = self._turns.setdefault(claim, threading.Semaphore(AT_ONCE))
        if not turn.acquire(timeout=self._patience):
            raise faults.away(claim, f"{AT_ONCE} calls have waited for it for {self._patience:g} s")
        try:
            yield
        finally:
            turn.release()


def owner_of(person: Person, wanted: Wanted) -> Owner:
    """To whom a folder is given."""
    if wanted.private:
        return Owner(person.uid, person.gid, 0o700)
    (first, *others) = wanted.groups
    permissions = [(one.gid, acl.WRITE if one.write else acl.READ) for one in others]
    mode = 0o2700 | (acl.WRITE if first.write else acl.READ) << 3
    writers = any(one.write for one in wanted.groups)
    return Owner(
        os.geteuid(),
        first.gid,
        mode,
        tuple(permissions),
        inherit=writers,
        # What is only read may be anybody's: data that was there before the platform.
        strict=writers,
    )


def _told(space: Space | None) -> Room | None:
    return Room(size=space.size, free=space.free, own=space.own) if space else None


def _shown(place: Place) -> str:
    return "/".join((place.claim, *place.path))
