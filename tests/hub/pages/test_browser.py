"""The pages in Chromium: accessible, narrow and dark, by keyboard, live, and without scripts."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from tests.hub.pages.browser import log_in
from tests.hub.pages.web import untouched
from tests.support.complaints import Complaints
from tests.support.platform import Platform, until

pytestmark = pytest.mark.browser

PATIENCE = 60_000
"""Milliseconds; a bound for a busy machine."""

Scheme = Literal["light", "dark"]
LOOKS: list[tuple[int, Scheme]] = [(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")]

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def logins() -> dict[str, Any]:
    """Cookies of those who have logged in, so that each does it once."""
    return {}


@pytest.fixture
def open_page(
    chromium: Browser, shared_platform: Platform, logins: dict[str, Any]
) -> Iterator[Open]:
    """Opens a page as somebody; at the end the browser must not have complained."""
    contexts: list[BrowserContext] = []
    complaints = Complaints()

    def opened(name: str = "", *, width: int = 1280, **options: Any) -> Page:
        context = chromium.new_context(
            base_url=shared_platform.url,
            viewport={"width": width, "height": 900},
            storage_state=logins.get(name),
            **options,
        )
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        complaints.watch(page)
        if name and name not in logins:
            log_in(page, name, shared_platform.password(name))
            logins[name] = context.storage_state()
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


def violations(page: Page) -> list[str]:
    """What axe finds."""
    found = Axe().run(page).response["violations"]
    return [f"{rule['id']}: {[node['html'] for node in rule['nodes']]}" for rule in found]


def check(page: Page, picture: Path, width: int) -> None:
    """Assert that axe finds nothing and nothing hangs over the edge."""
    page.wait_for_load_state("networkidle")
    assert violations(page) == [], page.url
    assert page.evaluate("document.documentElement.scrollWidth") <= width, page.url
    page.screenshot(path=picture, full_page=True, caret="initial")


def start(page: Page) -> None:
    page.get_by_role("button", name="Start", exact=True).click()


def stop_all(platform: Platform, page: Page) -> None:
    """Stop every session of a person from their home page."""
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto("/hub/home")
    while page.get_by_role("button", name="Stop", exact=True).count():
        page.get_by_role("button", name="Stop", exact=True).first.click()
        page.wait_for_load_state()
        until(lambda: _reloaded(page), "home is back")
    until(lambda: not platform.sessions(), "nothing runs")
    until(
        lambda: platform.rows("select id from spawners where server_id is not null") == [],
        "JupyterHub has noticed",
    )
    untouched(platform)


def _reloaded(page: Page) -> bool:
    page.goto("/hub/home")
    return page.locator("text=stopping").count() == 0


STILL = {
    "home": "/hub/home",
    "spawn": "/hub/spawn?flavor=t4&environment=ml",
    "named": "/hub/spawn/bruno/training",
    "token": "/hub/token",
    "missing": "/hub/nothing-here",
    "forbidden": "/hub/admin",
    "not-running": "/hub/user/bruno/lab",
    "unnamed": "/hub/arcetri/new?name=",
}


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_axe_finds_nothing_on_any_page(
    open_page: Open, pictures: Path, width: int, scheme: Scheme
) -> None:
    stranger = open_page(width=width, color_scheme=scheme)
    stranger.goto("/hub/login")
    check(stranger, pictures / f"login-{width}-{scheme}.png", width)
    page = open_page("bruno", width=width, color_scheme=scheme)
    for name, path in STILL.items():
        page.goto(path)
        check(page, pictures / f"{name}-{width}-{scheme}.png", width)
    page.goto("/hub/spawn?flavor=t4")
    page.locator("form#spawn-form").evaluate("form => { form.noValidate = true }")
    page.locator('[data-field="group"] input').evaluate_all(
        "all => all.forEach(one => { one.checked = false })"
    )
    start(page)
    expect(page.locator("#group-error")).to_have_attribute("data-code", "group_required")
    check(page, pictures / f"refused-{width}-{scheme}.png", width)


def test_axe_finds_nothing_while_a_session_lives(
    shared_platform: Platform, open_page: Open, pictures: Path
) -> None:
    """With a session and a token there is more on the pages than without."""
    shared_platform.token("fabio")
    page = open_page("fabio")
    # The start's own page is held still: as fast as a session is, a check would come too late.
    page.route("**/progress?*", lambda _: None)
    page.goto("/hub/spawn#flavor=a100-1g&environment=ml")
    start(page)
    page.wait_for_url("**/hub/spawn-pending/**")
    expect(page.locator(".status .badge-simulated")).to_be_visible()
    for width, scheme in LOOKS:
        page.set_viewport_size({"width": width, "height": 900})
        # Colours change at once: axe must not meet a button half way between two schemes.
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.screenshot(path=pictures / f"pending-{width}-{scheme}.png", caret="initial")
        assert violations(page) == []
    page.unroute("**/progress?*")
    until(lambda: "running" in _text(page, "/hub/home"), "it runs")
    for width, scheme in LOOKS:
        with_session = open_page("fabio", width=width, color_scheme=scheme)
        for name, path in {
            "home-running": "/hub/home",
            "spawn-busy": "/hub/spawn/fabio/second",
            "token-used": "/hub/token",
        }.items():
            with_session.goto(path)
            check(with_session, pictures / f"{name}-{width}-{scheme}.png", width)
        revoke = with_session.get_by_role("button", name="revoke").first.bounding_box()
        assert revoke is not None
        assert revoke["x"] + revoke["width"] <= width
        admin = open_page("dario", width=width, color_scheme=scheme)
        admin.goto("/hub/arcetri/sessions")
        check(admin, pictures / f"sessions-{width}-{scheme}.png", width)
    stop_all(shared_platform, page)


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_jupyterhubs_own_administration_fits_and_ends_nothing_by_one_click(
    open_page: Open, pictures: Path, width: int, scheme: Scheme
) -> None:
    page = open_page("dario", width=width, color_scheme=scheme)
    page.goto("/hub/arcetri/sessions")
    page.locator("main").get_by_role("link", name="a page of its own").click()
    expect(page.get_by_role("button", name="Add Users")).to_be_visible()
    for name in ("Start All", "Stop All", "Shutdown Hub", "Start Server", "Stop Server"):
        expect(page.get_by_role("button", name=name).first).to_be_hidden()
    page.screenshot(path=pictures / f"users-{width}-{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    footer = page.locator("footer")
    expect(footer).to_contain_text("Arcetri")
    box = footer.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] >= 899


def test_who_logs_in_for_nothing_in_particular_lands_where_something_starts(
    shared_platform: Platform, chromium: Browser, open_page: Open
) -> None:
    context = chromium.new_context(base_url=shared_platform.url)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto("/hub/login")
    said = page.locator(".demonstration")
    expect(said).to_contain_text("simulated")
    expect(said.get_by_role("row", name="fabio chalk")).to_be_visible()
    log_in(page, "fabio", shared_platform.password("fabio"))
    page.wait_for_url("**/hub/spawn")
    page.goto("/")
    page.wait_for_url("**/hub/spawn")
    shared_platform.start_session("fabio", flavor="cpu")
    page.goto("/")
    page.wait_for_url("**/hub/home")
    context.close()
    stop_all(shared_platform, open_page("fabio"))


def test_home_and_the_admins_page_move_while_they_are_open(
    shared_platform: Platform, open_page: Open
) -> None:
    home, admin = open_page("bruno"), open_page("dario")
    home.goto("/hub/home")
    admin.goto("/hub/arcetri/sessions")
    expect(admin.get_by_text("Nobody holds anything.")).to_be_visible()
    for page in (home, admin):
        page.evaluate("window.untouched = true")

    shared_platform.start_session("bruno", flavor="t4", group="/arcetri/virgo")
    expect(home.locator(".session")).to_contain_text("Virgo", timeout=PATIENCE)
    row = admin.get_by_role("row").filter(has_text="bruno")
    expect(row).to_be_visible(timeout=PATIENCE)
    expect(admin.locator('[data-flavor="t4"]')).to_contain_text("1 of 2 not held", timeout=PATIENCE)

    # Who is writing is not disturbed, whatever happens meanwhile.
    row.get_by_text("Stop…").click()
    row.get_by_role("textbox").fill("Maintenance at noon.")
    home.get_by_role("link", name="Open").focus()
    seen = [_looked_at(page) for page in (home, admin)]
    until(lambda: _looked_at(home) != seen[0] and _looked_at(admin) != seen[1], "both look again")
    expect(row.get_by_role("textbox")).to_have_value("Maintenance at noon.")
    expect(home.get_by_role("link", name="Open")).to_be_focused()

    row.get_by_role("button", name="Stop this session now").click()
    expect(home.locator("#notices")).to_contain_text("Maintenance at noon.", timeout=PATIENCE)
    expect(home.get_by_role("link", name="Start a session")).to_be_visible(timeout=PATIENCE)
    assert home.evaluate("window.untouched")
    until(
        lambda: shared_platform.rows("select id from spawners where server_id is not null") == [],
        "JupyterHub has noticed",
    )
    untouched(shared_platform)


def _looked_at(page: Page) -> str:
    return str(page.evaluate("document.documentElement.dataset.lookedAt || ''"))


def test_axe_finds_nothing_where_an_environment_has_news(
    shared_platform: Platform, open_page: Open, pictures: Path
) -> None:
    profiles = shared_platform.state / "profiles.yaml"
    before = profiles.read_text(encoding="utf-8")
    said = f"{{since: {datetime.now(UTC).date() - timedelta(days=1)}, message: PyTorch 2.15.}}"
    line = "    title: Machine learning\n"
    assert line in before
    more = f"    contents: [PyTorch 2.15, CUDA 13.2]\n    news: {said}\n"
    profiles.write_text(before.replace(line, line + more), encoding="utf-8")
    page = open_page("bruno")
    try:
        until(lambda: "New since" in _text(page, "/hub/spawn"), "the page has the news")
        tile = page.get_by_role("radio", name="Machine learning")
        expect(tile).to_have_accessible_name(re.compile("PyTorch 2.15, CUDA 13.2.*New since"))
        for width, scheme in LOOKS:
            page = open_page("bruno", width=width, color_scheme=scheme)
            page.goto("/hub/spawn?flavor=t4&environment=ml")
            check(page, pictures / f"news-{width}-{scheme}.png", width)
    finally:
        profiles.write_text(before, encoding="utf-8")
        until(lambda: "New since" not in _text(page, "/hub/spawn"), "it is as before")


def _text(page: Page, path: str) -> str:
    page.goto(path)
    return page.locator("main").inner_text()


def test_a_session_by_keyboard_alone(shared_platform: Platform, open_page: Open) -> None:
    page = open_page("bruno", reduced_motion="reduce")
    page.goto("/hub/spawn?flavor=t4")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")

    _tab_to(page, "flavor")
    page.keyboard.press("ArrowDown")
    assert _focused(page) == "a100-1g"
    assert page.evaluate("getComputedStyle(document.querySelector('.flavor')).outlineStyle")
    outlined = page.locator('[data-flavor="a100-1g"]').evaluate(
        "card => getComputedStyle(card).outlineStyle"
    )
    assert outlined == "solid"
    _tab_to(page, "environment")
    page.keyboard.press("ArrowDown")
    assert _focused(page) == "ml"
    _tab_to(page, "size")
    page.keyboard.press("ArrowDown")
    assert _focused(page) == "medium"
    while page.evaluate("document.activeElement.id") != "start":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/user/bruno/lab**")
    assert [row[0] for row in shared_platform.rows("select state from arcetri_request")[-1:]] == [
        "running"
    ]
    stop_all(shared_platform, page)


def _tab_to(page: Page, name: str) -> None:
    for _ in range(40):
        if page.evaluate("document.activeElement.name") == name:
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not reach {name}")


def _focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.value"))


def test_a_session_without_scripts(
    shared_platform: Platform, open_page: Open, logins: dict[str, Any]
) -> None:
    if "alice" not in logins:
        open_page("alice")
    page = open_page("alice", java_script_enabled=False)
    page.goto("/hub/spawn")
    page.locator("#flavor-cpu").check()
    page.get_by_label("Machine learning").check()
    start(page)
    expect(page.locator("#environment-error")).to_contain_text("environment")
    assert page.locator("#flavor-cpu").is_checked()
    page.get_by_label("Python", exact=False).first.check()
    start(page)
    page.wait_for_url("**/user/alice/**")
    stop_all(shared_platform, page)


def test_numbers_move_while_the_page_is_open(shared_platform: Platform, open_page: Open) -> None:
    page = open_page("bruno")
    page.goto("/hub/spawn")
    line = page.locator('[data-flavor="t4"] [data-group="/arcetri/cms"]')
    expect(line).to_contain_text("0 of 2 in use")
    page.evaluate("window.untouched = true")
    shared_platform.start_session("alice", flavor="t4")
    expect(line).to_contain_text("1 of 2 in use", timeout=PATIENCE)
    assert page.evaluate("window.untouched")
    alice = open_page("alice")
    stop_all(shared_platform, alice)
    expect(line).to_contain_text("0 of 2 in use", timeout=PATIENCE)


def test_a_links_hash_preselects_also_through_the_page_in_between(open_page: Open) -> None:
    page = open_page("bruno")
    page.goto("/hub/spawn#flavor=a100-1g&environment=ml&size=medium")
    for name in ("flavor-a100-1g",):
        expect(page.locator(f"#{name}")).to_be_checked()
    expect(page.get_by_label("Machine learning")).to_be_checked()
    expect(page.get_by_label("Medium")).to_be_checked()
    page.goto("/hub/user/bruno/lab#flavor=v70")
    page.get_by_role("link", name="Choose and start").click()
    expect(page.locator("#flavor-v70")).to_be_checked()


def test_a_links_hash_survives_the_login(
    shared_platform: Platform, chromium: Browser, pictures: Path
) -> None:
    def logged_in(path: str) -> Page:
        context = chromium.new_context(base_url=shared_platform.url)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        log_in(page, "alice", shared_platform.password("alice"), path)
        return page

    page = logged_in("/hub/spawn#flavor=a100-1g&environment=ml&size=medium")
    expect(page.locator("#flavor-a100-1g")).to_be_checked()
    expect(page.get_by_label("Machine learning")).to_be_checked()
    expect(page.get_by_label("Medium")).to_be_checked()
    page.screenshot(path=pictures / "hash-after-login.png", full_page=True)
    page.context.close()
    page = logged_in("/hub/user/alice/lab#flavor=cpu")
    page.get_by_role("link", name="Choose and start").click()
    expect(page.locator("#flavor-cpu")).to_be_checked()
    untouched(shared_platform)
    page.context.close()


IN_VAIN = [
    "flavor=v70&environment=ml&size=medium",
    "flavor=v70&environment=no&size=no",
    "flavor=cpu&group=/arcetri/virgo",
    "flavor=h100",
]


@pytest.mark.parametrize("wish", IN_VAIN)
def test_what_a_link_asks_for_in_vain_is_said_alike_for_hash_and_query(
    open_page: Open, pictures: Path, wish: str
) -> None:
    page = open_page("bruno")
    page.goto(f"/hub/spawn?{wish}")
    said = page.locator("[data-unmet] .notice")
    expect(said.first).to_contain_text("The link")
    by_query = said.all_text_contents()
    page.goto(f"/hub/spawn#{wish}")
    expect(said.first).to_contain_text("The link")
    assert said.all_text_contents() == by_query
    check(page, pictures / f"in-vain-{IN_VAIN.index(wish)}.png", 1280)
    # One of the two is a change, whatever was remembered.
    for flavor in ("cpu", "a100-1g"):
        page.locator(f"#flavor-{flavor}").check()
    expect(said).to_have_count(0)


def test_a_link_to_what_is_busy_chooses_it_and_says_that_one_would_wait(
    shared_platform: Platform, open_page: Open, pictures: Path
) -> None:
    shared_platform.start_session("bruno", flavor="v70")
    page = open_page("bruno", width=360)
    for mark in "?#":
        page.goto(f"/hub/spawn/bruno/second{mark}flavor=v70&environment=python")
        expect(page.locator("[data-unmet]")).to_contain_text(
            "The link asks for AMD Alveo V70, for which you would wait in line now."
        )
        expect(page.locator("input[name=flavor]:checked")).to_have_value("v70")
        expect(page.get_by_role("button", name="Wait in line")).to_be_enabled()
        page.get_by_label("No accelerator").check()
        expect(page.get_by_role("button", name="Start", exact=True)).to_be_enabled()
    check(page, pictures / "busy-link-360.png", 360)
    stop_all(shared_platform, page)


def test_start_stays_in_reach_on_a_phone_and_covers_nothing_that_has_the_focus(
    open_page: Open, pictures: Path
) -> None:
    page = open_page("bruno", width=360)
    page.goto("/hub/spawn?flavor=t4")
    button = page.locator("#start")
    expect(button).to_be_in_viewport(ratio=1)
    page.screenshot(path=pictures / "spawn-phone-top.png", caret="initial")
    for key in ("Tab", "Shift+Tab"):
        for _ in range(60):
            page.keyboard.press(key)
            assert not page.evaluate(COVERED), page.evaluate("document.activeElement.outerHTML")
            if page.evaluate("document.activeElement === document.body"):
                break
    page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
    page.screenshot(path=pictures / "spawn-phone-end.png", caret="initial")
    bar, footer = page.locator(".start").bounding_box(), page.locator("footer").bounding_box()
    assert bar is not None
    assert footer is not None
    assert bar["y"] + bar["height"] <= footer["y"]
    page.set_viewport_size({"width": 360, "height": 300})
    page.evaluate("window.scrollTo(0, 0)")
    expect(button).not_to_be_in_viewport()


COVERED = """() => {
  const bar = document.querySelector(".start");
  const [above, below] = [document.activeElement, bar].map((one) => one.getBoundingClientRect());
  const outside = document.activeElement !== document.body && !bar.contains(document.activeElement);
  return outside && above.bottom > below.top && above.top < below.bottom;
}"""


def test_only_what_fits_can_be_chosen(open_page: Open) -> None:
    page = open_page("bruno")
    page.goto("/hub/spawn?flavor=t4&environment=ml")
    groups = page.locator('[data-field="group"]')
    expect(groups).to_be_visible()
    page.locator("#flavor-cpu").check()
    expect(page.get_by_label("Machine learning")).to_be_disabled()
    expect(page.get_by_label("Python").first).to_be_checked()
    expect(groups).to_be_hidden()


def test_what_is_free_follows_the_size_that_is_chosen(open_page: Open) -> None:
    # One machine has room for every size: what there is not room for is put into its answer here.
    def cramped(route: Route) -> None:
        answer = route.fetch()
        told = answer.json()
        t4 = next(one for one in told["offers"] if one["flavor"] == "t4")
        assert t4["sizes"] == {}
        why = {"code": "queue_size", "sentence": "No room for it.", "remedy": ""}
        waits = {"startable": 0, "ahead": 0, "waits": "You would wait.", "reasons": [why]}
        t4["sizes"] = {"medium": {**t4, **waits, "free": "0 of 2 free for you now"}}
        route.fulfill(response=answer, json=told)

    page = open_page("bruno")
    page.route("**/hub/arcetri/offers?*", cramped)
    page.goto("/hub/spawn?flavor=t4&size=small")
    card = page.locator('[data-flavor="t4"]')
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # it looks at once
    expect(page.locator("[data-looked-at]")).to_be_attached(timeout=PATIENCE)
    free = card.locator("[data-free]")
    expect(free).to_have_text("1 of 2 free for you now")
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_enabled()
    page.get_by_label("Medium").check()
    expect(free).to_have_text("0 of 2 free for you now")
    expect(card).to_contain_text("No room for it.")
    expect(page.get_by_role("button", name="Wait in line")).to_be_enabled()
    page.get_by_label("Small").check()
    expect(free).to_have_text("1 of 2 free for you now")
    expect(card).not_to_contain_text("No room for it.")
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_enabled()


def test_two_clicks_start_one_session(shared_platform: Platform, open_page: Open) -> None:
    page = open_page("bruno")
    page.goto("/hub/spawn#flavor=cpu")
    before = len(shared_platform.rows("select id from arcetri_request"))
    page.get_by_role("button", name="Start", exact=True).dblclick(no_wait_after=True)
    page.wait_for_url("**/user/bruno/**")
    assert len(shared_platform.rows("select id from arcetri_request")) == before + 1
    stop_all(shared_platform, page)
