"""Real TensorBoard, as a person uses it: installed in their home, seen through the platform.

It weighs 140 MB with what it needs, more than all else that only tests need, so no environment has
it: it comes by hash from the package index that this machine's pip knows, as it does for a person.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect, sync_playwright

from arcetri_hub.up import ports
from tests.hub.pages.browser import log_in
from tests.support.complaints import Complaints
from tests.support.kernels import compute, hang_up
from tests.support.platform import Platform, running, until
from tests.support.tiers import find_chromium

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

REQUIREMENTS = Path(__file__).parents[2] / "requirements" / "tensorboard.txt"
PATIENCE = 120_000

INSTALL = """
import os, pathlib, subprocess
log = open(pathlib.Path.home() / "pip.log", "w")
done = subprocess.run(
    ["pip", "install", "--require-hashes", "--no-deps", "-r", {requirements!r}],
    env={{**os.environ, **{pip!r}}}, stdout=log, stderr=log,
)
pathlib.Path(pathlib.Path.home() / "pip.status").write_text(str(done.returncode))
"""

TRAIN = """
import subprocess, sys, time
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

writer = EventFileWriter("runs/first")
for step in range(3):
    summary = Summary(value=[Summary.Value(tag="loss", simple_value=1 / (step + 1))])
    writer.add_event(Event(step=step, wall_time=time.time(), summary=summary))
writer.close()
subprocess.Popen(
    [sys.executable, "-m", "tensorboard.main", "--logdir", "runs", "--port", "{port}"]
)
"""


def pip_settings() -> dict[str, str]:
    """What this process's pip goes by: where packages are, and where those fetched before are."""
    known = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "cache", "dir"], capture_output=True, text=True, check=False
    )
    return {**known, "PIP_CACHE_DIR": asked.stdout.strip()}


@pytest.fixture
def index(tmp_path: Path) -> None:
    """Skips where no package index answers."""
    # With the first of the packages, which is small.
    first, _, _ = REQUIREMENTS.read_text(encoding="utf-8").partition("\ngrpcio")
    small = tmp_path / "small.txt"
    small.write_text(first, encoding="utf-8")
    command = ["-m", "pip", "download", "--no-cache-dir", "--no-deps", "--require-hashes"]
    asked = subprocess.run(
        [sys.executable, *command, "--dest", tmp_path / "small", "-r", small],
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode != 0:
        pytest.skip("needs a package index, to install TensorBoard as a person would")


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    with running(tmp_path / "state") as started:
        yield started


@pytest.mark.usefixtures("index")
async def test_tensorboard_shows_a_run_through_the_platform(platform: Platform) -> None:
    platform.start_session("alice", flavor="t4")
    home = platform.state / "storage" / "shared" / "home" / "alice"
    status, port = home / "pip.status", ports.choose()
    cell = INSTALL.format(requirements=str(REQUIREMENTS), pip=pip_settings())
    channel = await compute(platform, "alice", cell)
    until(status.exists, "pip has ended", 300)
    assert status.read_text() == "0", (home / "pip.log").read_text()
    assert list(home.glob(".local/lib/python3*/site-packages/tensorboard"))
    train = await compute(platform, "alice", TRAIN.format(port=port))
    until(lambda: not ports.is_free("127.0.0.1", port), "TensorBoard listens")

    address = f"/user/alice/proxy/{port}/"
    assert await asyncio.to_thread(steps, platform, address) == [0, 1, 2]
    await asyncio.to_thread(look, platform, address)
    for one in (channel, train):
        await hang_up(one)


def steps(platform: Platform, address: str) -> list[int]:
    """The steps of the run, once TensorBoard has read it."""
    headers = {"Authorization": f"token {platform.token('alice')}"}
    with httpx.Client(base_url=f"{platform.url}{address}", headers=headers, timeout=60) as http:
        until(lambda: http.get("data/runs").json() == ["first"], "it has read the run")
        points = http.get("data/plugin/scalars/scalars?run=first&tag=loss").json()
    return [point[1] for point in points]


def look(platform: Platform, address: str) -> None:
    """See the run in a browser: the page finds its scripts and its data below its address."""
    complaints = Complaints()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(find_chromium()))
        context = browser.new_context(base_url=platform.url)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        log_in(page, "alice", platform.password("alice"))
        complaints.watch(page)
        page.goto(address)
        expect(page).to_have_title("TensorBoard")
        expect(page.get_by_text("first", exact=True).first).to_be_visible(timeout=PATIENCE)
        expect(page.get_by_text("loss", exact=True).first).to_be_visible(timeout=PATIENCE)
        context.close()
        browser.close()
    assert complaints == []
