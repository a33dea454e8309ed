"""The page of capacity in Chromium: accessible, narrow and dark, and on paper."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import expect, sync_playwright

from arcetri_accounting.ledger.database import Database
from tests.accounting.reports.test_browser import LOOKS, READERS, Scheme, check
from tests.accounting.reports.world import PREFIX, Use, at, build, fill
from tests.support.complaints import Complaints
from tests.support.tiers import find_chromium

pytestmark = pytest.mark.browser


@pytest.fixture
def served(ledger: Database) -> Iterator[str]:
    """The reports of a ledger with a GPU, an FPGA and a slice whose device nobody knows."""
    fill(
        ledger,
        Use("a", "alice", device="GPU-5f0c3c2e-9d1b-4d0e-8d1e-2f6a7b8c9d0e",
            start=at("2026-11-17T07:30")),
        Use("b", "carla", flavor="v70", device="FPGA-1", start=at("2026-11-18T07:30")),
        Use("c", "bruno", flavor="a100-1g", start=at("2026-11-19T08:00")),
    )  # fmt: skip
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        config = uvicorn.Config(build(ledger, READERS), log_level="warning", ws="none", http="h11")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([sock],))
        thread.start()
        deadline = time.monotonic() + 60
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        server.should_exit = True
        thread.join(30)


def test_axe_finds_nothing_in_any_look_and_it_prints(served: str, tmp_path: Path) -> None:
    complaints = Complaints()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(find_chromium()))
        for width, scheme in LOOKS:
            look: Scheme = scheme
            context = browser.new_context(
                base_url=served, viewport={"width": width, "height": 900}, color_scheme=look
            )
            context.add_cookies([{"name": "test-user", "value": "dario", "url": served}])
            page = context.new_page()
            complaints.watch(page)
            page.goto(f"{PREFIX}all")
            page.get_by_role("link", name="Capacity").click()
            expect(page.get_by_role("heading", level=1)).to_have_text("Capacity")
            expect(page.locator("tfoot tr")).to_have_count(2)
            expect(page.locator(".notes")).to_contain_text("no agent said on what device")
            check(page, tmp_path / f"capacity-{width}-{look}.png", width)
            page.emulate_media(media="print")
            expect(page.get_by_role("button", name="Show")).to_be_hidden()
            expect(page.get_by_role("table", name="Hours of devices")).to_be_visible()
            context.close()
        browser.close()
    assert complaints == []
