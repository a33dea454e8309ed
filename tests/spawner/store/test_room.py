"""SQLite on a disk that is really full: with the room that is kept, small writes go on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from arcetri_spawner.errors import StorageFull
from arcetri_spawner.store import Store
from tests.support.faults import fill, small_disk

pytestmark = [
    pytest.mark.component,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root"),
]

MANY = 300
"""Writes, each of several pages: more than the log would hold if it could not begin again."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 24) as folder:
        yield folder


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of the database and of its log."""
    return {path.name: path.stat().st_size for path in folder.glob("a.sqlite*")}


async def write(store: Store, issuer: str = "i") -> int:
    """Make accounts until the disk is full; return how many."""
    for number in range(MANY):
        try:
            await store.account_for(issuer, f"s{number}", f"{issuer}{number}", "x" * 4000)
        except StorageFull:
            return number
    return MANY


async def test_without_room_a_full_disk_stops_all_writes(disk: Path) -> None:
    store = Store.open(f"sqlite:///{disk}/a.sqlite")
    fill(disk)

    assert await write(store) < 10
    with pytest.raises(StorageFull):
        await store.keep_room()

    (disk / "ballast").unlink()
    await store.keep_room()
    assert await write(store) == MANY
    store.close()


async def test_with_room_small_writes_go_on(disk: Path) -> None:
    store = Store.open(f"sqlite:///{disk}/a.sqlite")
    await store.keep_room()
    fill(disk)

    assert await write(store) == MANY
    store.close()


async def test_room_is_made_once_and_filled_up_again(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/a.sqlite")
    await store.keep_room()
    before = sizes(tmp_path)

    await store.keep_room()

    assert sizes(tmp_path) == before
    await write(store, "j")
    await write(store, "k")
    await store.keep_room()
    assert sizes(tmp_path)["a.sqlite"] > before["a.sqlite"]
    store.close()
