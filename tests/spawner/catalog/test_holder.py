from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arcetri_spawner.catalog import CatalogHolder, ReloadResult
from arcetri_spawner.errors import CatalogError
from tests.support.catalogs import DEMO, edited

BETTER = edited(("sessions: 2", "sessions: 5"), ("requests: 3", "requests: 5"))
BAD = edited(("share: 1/7", "share: 1/11"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "profiles.yaml"
    path.write_text(DEMO)
    return path


def sessions(holder: CatalogHolder) -> int:
    return holder.current.catalog.limits.sessions


def test_a_first_catalog_must_be_good(path: Path) -> None:
    path.write_text(BAD)

    with pytest.raises(CatalogError):
        CatalogHolder(path)


def test_a_good_change_is_taken_whole(path: Path) -> None:
    holder = CatalogHolder(path)
    before = holder.current
    path.write_text(BETTER)
    result = holder.reload()

    assert (result.changed, result.refused) == (True, False)
    assert sessions(holder) == 5
    assert before.catalog.limits.sessions == 2
    assert holder.current.digest != before.digest


def test_an_unchanged_file_changes_nothing(path: Path) -> None:
    holder = CatalogHolder(path)
    path.write_text(DEMO)

    assert holder.reload() == ReloadResult(False, False, holder.current)


@pytest.mark.parametrize("trouble", ["bad", "empty", "half", "gone", "folder"])
def test_the_last_good_one_serves_through_every_trouble(path: Path, trouble: str) -> None:
    holder = CatalogHolder(path)
    good = holder.current
    path.unlink()
    match trouble:
        case "bad":
            path.write_text(BAD)
        case "empty":
            path.touch()
        case "half":
            path.write_text(DEMO[: DEMO.index("groups:") + 40])
        case "folder":
            path.mkdir()
    result = holder.reload()

    assert (result.changed, result.refused) == (False, True)
    assert holder.current is good
    assert holder.findings == result.findings != ()

    if trouble == "folder":
        path.rmdir()
    path.write_text(BETTER)
    assert holder.reload().changed
    assert holder.findings == ()


def test_subscribers_hear_of_changes_and_of_each_refusal_once(path: Path) -> None:
    heard: list[tuple[bool, bool]] = []
    holder = CatalogHolder(path)
    end = holder.subscribe(lambda result: heard.append((result.changed, result.refused)))
    holder.reload()
    path.write_text(BAD)
    holder.reload()
    holder.reload()
    path.write_text(DEMO)
    holder.reload()
    path.write_text(BETTER)
    holder.reload()
    end()
    path.write_text(DEMO)
    holder.reload()

    assert heard == [(False, True), (False, False), (True, False)]


@pytest.fixture
async def watched(path: Path) -> AsyncIterator[CatalogHolder]:
    holder = CatalogHolder(path)
    watch = asyncio.create_task(holder.watch(interval=0.05))
    yield holder
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)


async def heard(holder: CatalogHolder) -> ReloadResult:
    news: asyncio.Future[ReloadResult] = asyncio.get_running_loop().create_future()
    end = holder.subscribe(lambda result: None if news.done() else news.set_result(result))
    try:
        return await asyncio.wait_for(news, 20)
    finally:
        end()


async def test_a_file_replaced_by_rename_is_seen(watched: CatalogHolder) -> None:
    fresh = watched.path.with_suffix(".new")
    fresh.write_text(BETTER)
    # As old as the one it replaces, and as editors do it.
    os.utime(fresh, ns=(0, watched.path.stat().st_mtime_ns))
    fresh.replace(watched.path)

    assert (await heard(watched)).changed
    assert sessions(watched) == 5


async def test_a_link_moved_to_another_file_is_seen(tmp_path: Path) -> None:
    (tmp_path / "one").write_text(DEMO)
    (tmp_path / "two").write_text(BETTER)
    link = tmp_path / "profiles.yaml"
    link.symlink_to("one")
    holder = CatalogHolder(link)
    watch = asyncio.create_task(holder.watch(interval=0.05))
    try:
        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").replace(link)
        assert (await heard(holder)).changed
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


async def test_a_file_deleted_and_put_back_is_seen(watched: CatalogHolder) -> None:
    watched.path.unlink()
    assert (await heard(watched)).refused
    watched.path.write_text(DEMO)

    result = await heard(watched)
    assert (result.changed, result.refused) == (False, False)
    assert watched.findings == ()


async def test_a_file_still_being_written_is_left_alone(watched: CatalogHolder) -> None:
    refusals: list[ReloadResult] = []
    watched.subscribe(lambda result: refusals.append(result) if result.refused else None)
    news = asyncio.create_task(heard(watched))
    with watched.path.open("w") as file:
        for start in range(0, len(BETTER), 400):
            file.write(BETTER[start : start + 400])
            file.flush()
            await asyncio.sleep(0.02)

    assert (await news).changed
    assert refusals == []


def test_a_copy_of_the_last_good_one_serves_over_a_broken_file(path: Path) -> None:
    keep = path.with_name("kept.yaml")
    CatalogHolder(path, keep=keep)
    path.write_text(BETTER)
    assert CatalogHolder(path, keep=keep).findings == ()
    path.write_text(BAD)

    holder = CatalogHolder(path, keep=keep)

    assert sessions(holder) == 5
    assert [one.file for one in holder.findings] == [str(path)]
    assert holder.current.path == str(path)
    assert keep.stat().st_mode & 0o077 == 0
    path.write_text(DEMO)
    assert holder.reload().changed
    assert holder.findings == ()
    assert keep.read_text() == DEMO


def test_a_copy_that_cannot_be_kept_or_used_is_done_without(path: Path) -> None:
    CatalogHolder(path, keep=path.parent / "missing" / "kept.yaml")
    path.with_name("kept.yaml").write_text(BAD)
    path.write_text(BAD)

    with pytest.raises(CatalogError):
        CatalogHolder(path, keep=path.with_name("kept.yaml"))
