"""The pages in Chromium: accessible, narrow and dark, without scripts, and on paper."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, Literal

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect
from pypdf import PdfReader

from arcetri_accounting.ledger.database import Database
from arcetri_accounting.reports import history
from arcetri_accounting.reports.access import Reader
from arcetri_accounting.reports.history import Somebody
from tests.accounting.reports.world import (
    ASTRO,
    CATALOG,
    CMS,
    PREFIX,
    Use,
    at,
    build,
    fill,
    full,
)
from tests.support.complaints import Complaints

pytestmark = pytest.mark.browser

Scheme = Literal["light", "dark"]
LOOKS: list[tuple[int, Scheme]] = [(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")]
PATIENCE = 60_000
"""Milliseconds; a bound for a busy machine."""

READERS = {
    "alice": Reader("alice", frozenset({CMS, "/lab/cms/leads"}), own=True),
    "bruno": Reader("bruno", frozenset({CMS}), own=True),
    "dario": Reader("dario", frozenset(), own=True, everything=True),
    "nobody": Reader("nobody", frozenset(), own=True),
}
OCTOBER = "from=2026-10-01&to=2026-10-31"

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def ledger_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A ledger with a half-year in it, of simulated devices, and a week of real ones."""
    folder = tmp_path_factory.mktemp("ledger")
    database = Database.open(f"sqlite:///{folder}/ledger.sqlite")
    known = {
        CMS: [Somebody("id-alice", "alice"), Somebody("id-bruno", "bruno"), Somebody("f", "fabio")]
    }
    fill(
        database,
        full("day", "alice", at("2026-11-17T07:30"), 9, used=0.4, mem_peak=6 << 30),
        full("night", "bruno", at("2026-11-18T17:00"), 14, used=0.01, mem_peak=3 << 30,
             energy_mj=900_000_000),
        full("weekend", "bruno", at("2026-11-21T10:00"), 30, used=0.0, mem_peak=2 << 30),
        Use("slice", "fabio", flavor="a100-1g", start=at("2026-11-19T08:00"), dur_ms=20_000_000,
            occupied_ms=15_000_000, unobserved_ms=2_000_000, mem_peak=4 << 30),
        Use("lost", "fabio", start=at("2026-11-16T08:00"), dur_ms=9_000_000,
            provenance="reconciled"),
        Use("wide", "w" * 120, group="/lab/" + "g" * 120, start=at("2026-11-12T08:00")),
        Use("fpga", "carla", group=ASTRO, flavor="v70", start=at("2026-11-19T08:00")),
        full("now", "alice", at("2026-11-23T08:00"), 1.75, used=0.6, mem_peak=5 << 30),
        Use("now", "alice", start=at("2026-11-23T09:45"), dur_ms=890_000, util_ms=890_000,
            used_u=5_000_000_000, occupied_ms=890_000, unobserved_ms=0, open=True),
        Use("cores", "alice", flavor="cpu", start=at("2026-11-23T09:50"), dur_ms=500_000,
            millicores=2000, open=True),
    )  # fmt: skip
    database.write(
        lambda session: history.generate(session, CATALOG, date(2026, 11, 23), known=known)
    )
    app = build(database, READERS)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none", http="h11"))
        thread = threading.Thread(target=server.run, args=([sock],))
        thread.start()
        deadline = time.monotonic() + 60
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        server.should_exit = True
        thread.join(30)
    database.close()


@pytest.fixture
def open_page(chromium: Browser, ledger_url: str) -> Iterator[Open]:
    """Opens a page as somebody; at the end the browser must not have complained."""
    contexts: list[BrowserContext] = []
    complaints = Complaints()

    def opened(name: str, *, width: int = 1280, **options: Any) -> Page:
        context = chromium.new_context(
            base_url=ledger_url, viewport={"width": width, "height": 900}, **options
        )
        context.add_cookies([{"name": "test-user", "value": name, "url": ledger_url}])
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        complaints.watch(page)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where screenshots go: the folder that ``ARCETRI_SCREENSHOTS`` names, to look at them."""
    folder = Path(os.environ.get("ARCETRI_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def check(page: Page, picture: Path, width: int) -> None:
    """Assert that axe finds nothing and nothing hangs over the edge."""
    page.wait_for_load_state("networkidle")
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    drawn = page.evaluate(
        "[...document.querySelectorAll('picture img')].map(one => one.currentSrc)"
    )
    assert all(("size=narrow" in one) == (width < 640) for one in drawn), drawn
    found = Axe().run(page).response["violations"]
    wrong = [f"{rule['id']}: {[node['html'] for node in rule['nodes']][:3]}" for rule in found]
    page.screenshot(path=picture, full_page=True)
    assert wrong == [], page.url
    assert page.evaluate("document.documentElement.scrollWidth") <= width, page.url
    broken = "[...document.images].filter(one => !one.complete || !one.naturalWidth).length"
    assert page.evaluate(broken) == 0, page.url


PAGES = {
    "own": ("alice", ""),
    "own-empty": ("nobody", ""),
    "group": ("alice", f"group?group={CMS}"),
    "group-simulated": ("alice", f"group?group={CMS}&{OCTOBER}&simulated=only"),
    "half-year": ("dario", "group?from=2026-05-25&to=2026-11-23&simulated=only&group=" + CMS),
    "all": ("dario", "all"),
    "sessions": ("dario", f"sessions?view=all&{OCTOBER}&simulated=only"),
    "session": ("alice", "session?id=night"),
    "session-running": ("alice", "session?id=now"),
    "refused": ("bruno", "all"),
}


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_axe_finds_nothing_on_any_page(
    open_page: Open, pictures: Path, width: int, scheme: Scheme
) -> None:
    # Each page in one light and one dark look; how the looks differ shows in one page of each kind.
    seen = (
        PAGES if (width, scheme) in LOOKS[::3] else {name: PAGES[name] for name in ("own", "group")}
    )
    for name, (user, path) in seen.items():
        page = open_page(user, width=width, color_scheme=scheme)
        page.goto(PREFIX + path)
        check(page, pictures / f"usage-{name}-{width}-{scheme}.png", width)
        page.context.close()


def test_the_hubs_choice_of_dark_holds_here_too(open_page: Open, pictures: Path) -> None:
    page = open_page("alice", color_scheme="light")
    page.goto(PREFIX)
    page.evaluate("localStorage.setItem('jupyterhub-bs-theme', 'dark')")
    page.reload()
    assert "theme=dark" in page.evaluate("document.querySelector('picture img').currentSrc")
    check(page, pictures / "usage-own-chosen-dark.png", 1280)


def test_a_month_is_found_by_links_and_the_form_without_scripts(open_page: Open) -> None:
    page = open_page("alice", java_script_enabled=False)
    page.goto(PREFIX)
    page.get_by_role("link", name="Groups").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(CMS)
    page.get_by_role("navigation", name="Months").get_by_role("link", name="2026-10").click()
    page.get_by_label("Devices").select_option("only")
    page.get_by_label("User", exact=True).select_option("bruno")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_label("User", exact=True)).to_have_value("bruno")
    expect(page.get_by_label("From")).to_have_value("2026-10-01")
    total = page.locator("tfoot a").first
    shown = total.inner_text()
    total.click()
    expect(page.locator(".adds-up")).to_contain_text(f"Together {shown} GPU-hours")


def test_every_number_of_a_row_leads_to_what_it_sums(open_page: Open) -> None:
    page = open_page("alice")
    page.goto(f"{PREFIX}group?group={CMS}&{OCTOBER}&simulated=only")
    table = page.get_by_role("table", name="By user")
    said = {
        "GPU-hours": "Together {} GPU-hours",
        "Used": "used {}",
        "Occupied": "occupied {}",
        "Unobserved": "unobserved {}",
        "Core-hours": "{} core-hours",
    }
    found = [
        (sentence.format(one.inner_text()), one.get_attribute("href"))
        for column, sentence in said.items()
        for one in table.locator(f'td[data-label="{column}"] a').all()
    ]
    assert len(found) == len(said) * 4, "three people and the total, with a link each"
    cards = ("GPU-hours", "Used", "Occupied", "Unobserved", "Core-hours", "Energy, kWh")
    for card in cards:
        item = page.locator(".cards li").filter(
            has=page.get_by_text(card, exact=True).and_(page.locator(".card-title"))
        )
        sentence = said.get(card, "{} kWh")
        link = item.get_by_role("link")
        found.append((sentence.format(link.inner_text()), link.get_attribute("href")))
    by_address: dict[str, list[str]] = {}
    for sentence, address in found:
        by_address.setdefault(str(address), []).append(sentence)
    assert len(by_address) == 4
    for address, sentences in by_address.items():
        page.goto(address)
        for sentence in sentences:
            expect(page.locator(".adds-up")).to_contain_text(sentence)


def test_a_short_name_is_not_broken_and_a_long_one_stays_on_the_page(open_page: Open) -> None:
    page = open_page("dario")
    page.goto(f"{PREFIX}sessions?view=all&{OCTOBER}&simulated=only")
    heights = "all => all.map(one => one.getClientRects().length)"
    names = page.locator(".whole")
    assert names.count() > 30
    assert set(names.evaluate_all(heights)) == {1}
    page.goto(f"{PREFIX}sessions?view=all&from=2026-11-01&to=2026-11-30&simulated=exclude")
    assert page.locator(".long").count() > 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    page.set_viewport_size({"width": 1100, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= 1100


def test_it_prints(open_page: Open, pictures: Path) -> None:
    page = open_page("alice", color_scheme="dark")
    page.goto(f"{PREFIX}group?group={CMS}&{OCTOBER}&simulated=only")
    page.pdf(path=pictures / "usage-printed.pdf", format="A4")
    pages = [one.extract_text() for one in PdfReader(pictures / "usage-printed.pdf").pages]
    assert len(pages) <= 5, "a report, and not a phone's page on and on"
    assert re.search(r"GPU-hours by day\s+0\s+5\s+10", pages[0]), "the chart is on the paper"
    assert re.search(r"User\s+GPU-hours allocated\s+Used\s+Occupied", pages[0]), "a table's head"
    page.emulate_media(media="print")
    expect(page.get_by_role("button", name="Show")).to_be_hidden()
    expect(page.get_by_role("table", name="By day")).to_be_visible()
    # Ink on white paper, whatever the screen is set to.
    drawn = page.locator(".printed-chart")
    expect(drawn).to_be_visible()
    assert "=light" in drawn.evaluate("one => one.currentSrc")
    assert drawn.evaluate("one => one.naturalWidth"), "it was there before it was printed"
    for table in page.get_by_role("table").all():
        assert table.evaluate("one => getComputedStyle(one).display") == "table"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.wait_for_load_state("networkidle")
    page.screenshot(path=pictures / "usage-printed.png", full_page=True)


def test_a_file_can_be_taken_along(open_page: Open, tmp_path: Path) -> None:
    page = open_page("alice")
    page.goto(f"{PREFIX}group?group={CMS}&{OCTOBER}&simulated=only")
    for name in ("PDF, for the minutes", "CSV by user"):
        with page.expect_download() as waiting:
            page.get_by_role("link", name=name).click()
        waiting.value.save_as(tmp_path / waiting.value.suggested_filename)
    assert (tmp_path / "usage-2026-10-01-2026-10-31.pdf").read_bytes().startswith(b"%PDF")
    text = (tmp_path / "usage-2026-10-01-2026-10-31-by-user.csv").read_text("utf-8-sig")
    assert text.startswith("site,")


def test_nothing_comes_from_another_host(open_page: Open, ledger_url: str) -> None:
    page = open_page("alice")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{PREFIX}group?group={CMS}")
    page.wait_for_load_state("networkidle")
    assert len(asked) >= 4
    assert {url for url in asked if not url.startswith(ledger_url)} == set()
