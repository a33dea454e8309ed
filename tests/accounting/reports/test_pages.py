from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from importlib.resources import files
from pathlib import Path
from typing import cast
from urllib.parse import parse_qsl, urlsplit

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.tables import Person
from arcetri_accounting.reports.access import View
from arcetri_accounting.reports.views import PATHS
from tests.accounting.reports.world import (
    ASTRO,
    CMS,
    HOUR,
    PREFIX,
    Use,
    at,
    build,
    client,
    fill,
    full,
)

USES = (
    full("s1", "alice", at("2026-11-10T08:00"), 10, used=0.5),
    full("s2", "bruno", at("2026-11-11T08:00"), 5, used=0.0, mem_peak=10**9),
    full("s3", "bruno", at("2026-11-12T08:00"), 5, used=0.0, simulated=True),
    Use("s4", "bruno", start=at("2026-11-23T09:58"), dur_ms=100_000, open=True),
    Use("s5", "bruno", flavor="cpu", start=at("2026-11-20T09:58"), millicores=2000),
    Use("s6", "carla", group=ASTRO, flavor="v70", start=at("2026-11-20T09:58")),
)


@pytest.mark.parametrize(
    "path",
    ["", "group", "sessions?view=group", "sessions", "session?id=s2", "session?id=s4", "chart.svg"],
)
def test_a_lead_reads_every_page(database: Database, path: str) -> None:
    fill(database, *USES)
    answer = client(build(database), "alice").get(path)
    assert answer.status_code == 200, answer.text


def test_the_page_of_all_is_the_administrators(database: Database) -> None:
    fill(database, *USES)
    app = build(database)
    assert client(app, "alice").get("all").status_code == 403
    page = client(app, "dario").get("all")
    assert page.status_code == 200
    assert ASTRO in page.text


@pytest.mark.parametrize("path", ["", "group", "all"])
@pytest.mark.parametrize("view", ["own", "group", "all"])
def test_a_view_leads_to_its_own_page_with_the_other_filters(
    ledger: Database, path: str, view: str
) -> None:
    fill(ledger, *USES)
    app = build(ledger)
    page = PATHS[cast(View, view)]
    filters = {"month": "2026-11", "group": CMS, "user": "bruno"}
    for name in ("dario", "bruno"):
        person = client(app, name)
        there = person.get(page, **filters)
        asked = person.get(path, view=view, **filters)
        if path != page:
            address = urlsplit(asked.headers["Location"])
            assert (asked.status_code, address.path) == (307, f"{PREFIX}{page}")
            assert dict(parse_qsl(address.query)) == filters
            asked = person.get(page, **dict(parse_qsl(address.query)))
        assert (asked.status_code, asked.text) == (there.status_code, there.text)
    # A member who leads nothing is refused what is not theirs, wherever they ask for it.
    assert asked.status_code == (200 if view == "own" else 403)


_FILTERS = "from, to, month, view, group, below, user, flavor, kind, simulated"


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("?from=abc", "from should be a day, such as 2026-11-23."),
        ("?to=2026-13-40", "to should be a day, such as 2026-11-23."),
        ("?to=2026-11-02T10:00", "to should be a day, such as 2026-11-23."),
        ("?month=November", "month should be a month, such as 2026-11."),
        ("?below=perhaps", "below should be true or false."),
        ("?kind=x", "kind should be 'notebook' or 'batch'."),
        ("sessions?offset=-1", "offset should be greater than or equal to 0."),
        ("sessions?offset=x", "offset should be a whole number."),
        (f"?group={'x' * 256}", "group should have at most 255 characters."),
        ("?page=99", f"page is not known here; the parameters are: {_FILTERS}."),
        ("?from=x&to=y", "from should be a day, such as 2026-11-23. to should be a day,"),
        ("session", "id is missing."),
        ("capacity?page=2", "page is not known here; the parameters are: from, to, by, simulated."),
    ],
)
def test_a_parameter_that_cannot_be_is_told_in_words(
    ledger: Database, address: str, sentence: str
) -> None:
    fill(ledger, *USES)
    path, _, query = address.partition("?")
    answer = client(build(ledger), "dario").get(path, **dict(parse_qsl(query)))
    assert answer.status_code == 422
    text = unescape(answer.text)
    assert f"<h1>{sentence}" in text
    for raw in ("Input", "OpenAPI", "pattern", "permitted"):
        assert raw not in text


def test_a_program_is_told_the_same_as_json(ledger: Database) -> None:
    fill(ledger, *USES)
    answer = client(build(ledger), "alice").get("api/v1/report", **{"from": "abc"})
    assert answer.status_code == 422
    assert answer.json() == {
        "code": "parameters_invalid",
        "message": "from should be a day, such as 2026-11-23.",
        "remedy": "The OpenAPI description says what is allowed.",
    }


def test_a_page_that_is_not_there_is_a_page_for_a_browser(ledger: Database) -> None:
    fill(ledger, *USES)
    alice = client(build(ledger), "alice")
    as_json = alice.get("nowhere")
    assert (as_json.status_code, as_json.json()["code"]) == (404, "not_found")
    alice.headers["Accept"] = "text/html,application/xhtml+xml"
    page = alice.get("nowhere")
    assert page.status_code == 404
    assert "<h1>There is no such page.</h1>" in page.text
    assert f'<a href="{PREFIX}">My usage</a>' in page.text
    assert "style-src 'self'" in page.headers["Content-Security-Policy"]
    assert alice.get("api/v1/nowhere").json()["code"] == "not_found"


def test_a_running_session_shows_and_is_in_no_total(database: Database) -> None:
    fill(database, *USES)
    bruno = client(build(database), "bruno")
    page = bruno.get("").text
    assert "Running now" in page
    assert 'data-session="s4" data-running' in page
    report = bruno.json("report")
    assert report["total"]["allocated_gpu_hours"] == "5.000000"
    assert report["total"]["provisional_gpu_hours"] == "0.027778"
    assert report["completeness"]["final"] is False


def test_where_nothing_was_measured_no_number_is_claimed(ledger: Database) -> None:
    fill(
        ledger,
        Use("f", "carla", group=ASTRO, flavor="v70", start=at("2026-11-20T09:00")),
        Use("i", "bruno", start=at("2026-11-19T09:00"), provenance="imported"),
        full("z", "bruno", at("2026-11-18T09:00"), 1, used=0.0, flavor="a100-1g"),
    )
    page = client(build(ledger), "dario").get("all").text

    def cells(flavor: str) -> dict[str, str]:
        row = re.search(rf'<tr role="row" data-key="{flavor}">.*?</tr>', page, re.S)
        assert row
        found = re.findall(r'data-label="([^"]+)">(.*?)</td>', row[0], re.S)
        return {name: " ".join(re.sub(r"<[^>]+>", " ", text).split()) for name, text in found}

    fpga, imported, idle = cells("v70"), cells("t4"), cells("a100-1g")
    for name in ("Used", "Occupied", "Unobserved"):
        assert fpga[name].endswith(" nothing is claimed about use")
    assert (imported["Used"], imported["Occupied"]) == ("not measurable", "unknown")
    assert imported["Unobserved"] == "1.00"
    assert idle["Used"].startswith("0.00"), "measured, and not used, is a number"
    assert (idle["Occupied"], idle["Unobserved"]) == ("0.00", "0.00")


def test_what_was_withdrawn_is_in_no_total_and_no_list(database: Database) -> None:
    closed = Use("gone", "bruno", start=at("2026-11-10T08:00"), provenance="reconciled")
    fill(database, closed, replace(closed, sign=-1), full("s", "bruno", closed.start, 1, used=0.5))
    bruno = client(build(database), "bruno")
    assert [one["session"] for one in bruno.json("sessions")["sessions"]] == ["s"]
    report = bruno.json("report")
    assert report["total"]["allocated_gpu_hours"] == "1.000000"
    assert report["total"]["reconciled_gpu_hours"] == "0.000000"


def test_an_erased_person_is_a_number_to_everybody(database: Database) -> None:
    fill(database, *USES)

    def erase(db: Session) -> int:
        person = db.scalars(select(Person).where(Person.name == "bruno")).one()
        person.name, person.erased_at = None, 1
        return person.id

    number = database.write(erase)
    app = build(database)
    alice = client(app, "alice")
    rows = alice.json("report", by="user", group=CMS)["rows"]
    assert f"erased person {number}" in [row["key"] for row in rows]
    for path in ("group", "sessions?view=group", "session?id=s2"):
        page = alice.get(path).text
        assert "bruno" not in page.replace("id-bruno", "")
        assert f"erased person {number}" in page
    # The totals stay.
    assert alice.json("report", group=CMS)["total"]["allocated_gpu_hours"] == "15.000000"
    # Whoever takes the name up is somebody else.
    assert client(app, "bruno").json("report")["rows"] == []


def test_names_on_a_page_are_only_ever_text(ledger: Database) -> None:
    hostile = "<script>alert(1)</script>\"'"
    fill(ledger, full("<b>s</b>", hostile, at("2026-11-10T08:00"), 5, used=0.0, group="/lab/<i>"))
    dario = client(build(ledger), "dario")
    for path in ("all", "group?group=/lab/%3Ci%3E", "sessions?view=all", "session?id=<b>s</b>"):
        page = dario.get(path)
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "<b>s" not in page.text
        assert "/lab/<i>" not in page.text
        assert "&lt;script&gt;" in page.text


def test_pages_run_nothing_of_their_own_and_load_nothing_from_elsewhere(ledger: Database) -> None:
    fill(ledger, *USES)
    alice = client(build(ledger), "alice")
    for path in ("", "group", "sessions", "session?id=s2", "all"):
        answer = alice.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "unsafe-inline" not in policy
        assert "default-src 'none'" in policy
        assert not re.search(r"<script(?![^>]*\bsrc=)|\sstyle=|\son[a-z]+=|<style", answer.text)
        assert set(re.findall(r"(?:src|href|srcset|action)=\"(https?:)?//", answer.text)) == set()


@pytest.mark.parametrize("name", ["usage.css", "usage.js", "favicon.svg"])
def test_a_file_is_kept_as_long_as_its_address_names_it(ledger: Database, name: str) -> None:
    fill(ledger)
    nobody = client(build(ledger), "nobody")
    page = client(build(ledger), "alice").get("").text
    address = re.search(rf"static/{re.escape(name)}\?v=[0-9a-f]+", page)
    assert address
    assert "immutable" in nobody.get(address[0]).headers["Cache-Control"]
    assert nobody.get(f"static/{name}").headers["Cache-Control"] == "no-cache"
    for other in ("static/nothing.css", "static/..%2fweb.py", "static/web.py"):
        assert nobody.get(other).status_code == 404


def test_the_look_is_the_platforms() -> None:
    """The same colours by the same names as the hub's pages."""

    def styles(package: str) -> str:
        folder = Path(str(files(package) / "static"))
        return "".join(path.read_text() for path in sorted(folder.glob("*.css")))

    def colours(text: str, start: str) -> dict[str, str]:
        block = text.split(start, 1)[1].split("}", 1)[0]
        return dict(re.findall(r"(--[a-z-]+): ([^;]+);", block))

    ours, hubs = styles("arcetri_accounting.reports"), styles("arcetri_hub")
    for start, hub_start in (
        (":root {", '[data-bs-theme="light"] {'),
        (':root:not([data-bs-theme="light"]) {', '[data-bs-theme="dark"] {'),
        (':root[data-bs-theme="dark"] {', '[data-bs-theme="dark"] {'),
    ):
        mine, theirs = colours(ours, start), colours(hubs, hub_start)
        shared = mine.keys() & theirs.keys()
        assert len(shared) > 12
        assert {name: mine[name] for name in shared} == {name: theirs[name] for name in shared}


def test_a_site_with_only_simulated_devices_shows_them(database: Database) -> None:
    fill(
        database,
        full("s1", "bruno", at("2026-11-12T08:00"), 5, used=0.0, simulated=True),
        Use("s2", "bruno", flavor="cpu", start=at("2026-11-13T08:00"), millicores=1000),
    )
    page = client(build(database), "bruno").get("").text
    assert "There are no real devices on this site." in page
    # A list may hold both; each says what it is.
    assert 'data-session="s1"' in page
    assert 'data-session="s2"' in page
    assert re.search(r'card-value">(<a[^>]*>)?5\.00', page)
    other = client(build(database), "bruno").get("?simulated=exclude").text
    assert 'data-session="s1"' not in other


@pytest.mark.parametrize("group", [CMS, CMS.strip("/"), f"{CMS}/"])
def test_a_group_is_meant_however_its_path_is_spelt(ledger: Database, group: str) -> None:
    fill(ledger, *USES)
    alice = client(build(ledger), "alice")
    for path in ("report", "sessions", "hints", "completeness"):
        assert alice.get(f"api/v1/{path}", group=group, view="group").status_code == 200, path
    assert alice.json("quota", group=group)["group"] == CMS
    assert alice.json("report", group=group)["filter"]["group"] == CMS
    assert alice.json("report", group=group)["total"]["allocated_gpu_hours"] == "15.000000"
    assert f"<option selected>{CMS}</option>" in alice.get("group", group=group).text
    assert alice.get("report.csv", group=group, view="group").status_code == 200
    assert alice.get("api/v1/report", group="lab/astro", view="group").status_code == 403


def test_all_that_lay_unused_is_a_link_away(ledger: Database) -> None:
    begin = at("2026-11-01T08:00")
    fill(
        ledger,
        *(full(f"idle{n:02}", "bruno", begin + n * 3 * HOUR, 3, used=0.0) for n in range(63)),
        full("busy", "bruno", begin + 400 * HOUR, 3, used=0.9),
    )
    alice = client(build(ledger), "alice")
    page = alice.get("group", group=CMS).text
    (address,) = re.findall(r'<a href="([^"]+)">All 63 of them</a>', page)
    assert address.startswith(f"{PREFIX}unused?view=group&amp;from=2026-11-01")
    found: list[str] = []
    following = [address]
    while following:
        page = alice.get(following[0].replace("&amp;", "&").removeprefix(PREFIX)).text
        assert "63 in 2026-11-01 to 2026-11-30, charged to /lab/cms" in page
        found += re.findall(r"session\?id=(\w+)", page)
        following = re.findall(r'rel="next" href="([^"]+)"', page)
    assert sorted(found) == [f"idle{n:02}" for n in range(63)]
    assert client(build(ledger), "carla").get("unused", view="group", group=CMS).status_code == 403
    assert "None in" in alice.get("unused", view="group", month="2026-08").text


@pytest.mark.parametrize(
    ("path", "reader"),
    [("", "bruno"), ("group", "alice"), ("unused", "bruno"), ("unused", "dario")],
)
def test_a_row_of_what_lay_unused_says_when_for_whom_and_how_little(
    ledger: Database, path: str, reader: str
) -> None:
    fill(ledger, full("idle", "bruno", at("2026-11-03T08:00"), 4, used=0.0496))
    page = client(build(ledger), reader).get(path, month="2026-11").text
    table = page[page.index('aria-labelledby="idle-title"') :]
    row = table[table.index("<tbody") : table.index("</tbody>")]
    assert ">2026-11-03 09:00</a>" in row
    assert re.search(rf'data-label="Charged to"><span[^>]*>{CMS}<', row)
    assert "4.9% used, of 4.00 h measured" in row


def test_one_quarter_hour_is_one(ledger: Database) -> None:
    begin = at("2026-11-10T08:00")
    fill(
        ledger,
        full("one", "alice", begin, 0.1, used=0.5),
        full("two", "alice", begin, 0.5, used=0.5),
    )
    alice = client(build(ledger), "alice")
    assert "<summary>1 quarter hour</summary>" in alice.get("session", id="one").text
    assert "<summary>2 quarter hours</summary>" in alice.get("session", id="two").text
