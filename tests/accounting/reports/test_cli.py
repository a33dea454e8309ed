from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from pypdf import PdfReader

from arcetri_accounting.ledger.cli import Group, with_database
from arcetri_accounting.ledger.database import Database
from arcetri_accounting.reports.cli import add_commands
from tests.accounting.reports.world import CMS, Use, at, build, client, fill, full

PERIOD = ("--from", "2026-10-01", "--to", "2026-10-31")


@pytest.fixture
def command() -> click.Group:
    group = Group("arcetri-ledger")
    add_commands(group, with_database)
    return group


def run(command: click.Group, ledger: Database, *arguments: str) -> Result:
    options = ["--database", str(ledger.url)]
    return CliRunner().invoke(command, [arguments[0], *options, *arguments[1:]])


def _filled(ledger: Database) -> None:
    fill(
        ledger,
        full("s1", "alice", at("2026-10-10T08:00"), 10, used=0.5),
        Use("s2", "bruno", flavor="a100-1g", start=at("2026-10-13T08:00"), dur_ms=10_000_000),
        full("s3", "carla", at("2026-10-31T22:30"), 1, used=0.5, group="/lab/astro"),
        full("s4", "carla", at("2026-10-11T22:30"), 1, used=0.5, simulated=True),
    )


@pytest.mark.parametrize("by", ["group", "user", "flavor", "day", "month"])
def test_its_numbers_are_the_webs(ledger: Database, command: click.Group, by: str) -> None:
    _filled(ledger)
    dario = client(build(ledger), "dario")
    web = dario.json("report", by=by, view="all", **{"from": "2026-10-01", "to": "2026-10-31"})
    said = run(command, ledger, "report", *PERIOD, "--by", by, "--format", "json")
    assert said.exit_code == 0, said.output
    rows = json.loads(said.stdout)
    assert rows == web["rows"]
    assert {"key", "allocated_gpu_hours", "used_gpu_hours"} <= rows[0].keys()
    assert {"occupied_gpu_hours", "unobserved_gpu_hours"} <= rows[0].keys()
    text = run(command, ledger, "report", *PERIOD, "--by", by, "--format", "csv").stdout
    lines = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
    assert [line["allocated_gpu_hours"] for line in lines] == [
        row["allocated_gpu_hours"] for row in rows
    ]


def test_both_ends_are_days_of_the_sites_zone(ledger: Database, command: click.Group) -> None:
    """22:30 in UTC is half past eleven in winter: still the last day of October in Rome."""
    _filled(ledger)
    said = run(command, ledger, "report", *PERIOD, "--by", "day", "--format", "json")
    assert {row["key"]: row["allocated_gpu_hours"] for row in json.loads(said.stdout)} == {
        "2026-10-10": "10.000000",
        "2026-10-13": "0.396825",
        "2026-10-31": "0.500000",
    }


def test_it_is_narrowed(ledger: Database, command: click.Group) -> None:
    _filled(ledger)

    def keys(*options: str) -> list[str]:
        said = run(command, ledger, "report", *PERIOD, "--by", "user", "--format", "json", *options)
        assert said.exit_code == 0, said.output
        return [row["key"] for row in json.loads(said.stdout)]

    assert keys() == ["alice", "carla", "bruno"]
    assert keys("--group", CMS) == ["alice", "bruno"]
    assert keys("--group", "/lab", "--below") == ["alice", "carla", "bruno"]
    assert keys("--user", "bruno") == ["bruno"]
    assert keys("--flavor", "t4") == ["alice", "carla"]
    assert keys("--simulated", "only") == ["carla"]
    assert keys("--kind", "batch") == []


def test_a_group_is_found_however_it_is_spelt(ledger: Database, command: click.Group) -> None:
    _filled(ledger)
    for group in (CMS, "lab/cms", "/lab/cms/", "lab/cms/"):
        said = run(command, ledger, "report", *PERIOD, "--group", group, "--format", "json")
        assert [row["key"] for row in json.loads(said.stdout)] == [CMS], group
        assert "Neither" not in said.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--group", "/nope"), "a group /nope."),
        (("--group", "lab/cm"), "a group /lab/cm. Did you mean /lab/cms?"),
        (("--group", "/lab"), "a group /lab."),
        (("--flavor", "a10-1g"), "a flavour a10-1g. Did you mean a100-1g?"),
        (("--user", "nope"), "The ledger knows nobody of the name or id nope."),
        (("--group", "/lab", "--below"), ""),
        (("--group", "lab/astro/gw"), ""),
        (("--flavor", "cpu", "--user", "id-alice"), ""),
    ],
)
def test_a_name_that_nothing_has_is_told(
    ledger: Database, command: click.Group, options: tuple[str, ...], said: str
) -> None:
    _filled(ledger)
    for style in ("table", "json", "csv"):
        found = run(command, ledger, "report", *PERIOD, *options, "--format", style)
        assert found.exit_code == 0
        assert found.stderr == "" if not said else said in found.stderr


def test_the_table_adds_up_and_says_what_is_missing(ledger: Database, command: click.Group) -> None:
    _filled(ledger)
    said = run(command, ledger, "report", "--from", "2026-10-01", "--to", "2026-12-01")
    assert said.exit_code == 0
    lines = said.stdout.splitlines()
    assert lines[0] == "AI platform, 2026-10-01 to 2026-12-01 (Europe/Rome)"
    assert lines[-1].split()[:2] == ["total", "11.40"]
    assert "Note: The period is not over" in said.stderr


def test_a_pdf_goes_to_a_file(ledger: Database, command: click.Group, tmp_path: Path) -> None:
    _filled(ledger)
    path = tmp_path / "october.pdf"
    options = ("--by", "user", "--group", CMS, "--format", "pdf", "--output", str(path))
    said = run(command, ledger, "report", *PERIOD, *options)
    assert said.exit_code == 0, said.output
    text = "".join(page.extract_text() for page in PdfReader(path).pages)
    assert "Usage of /lab/cms" in text
    assert "alice" in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--from", "2026-10-31", "--to", "2026-10-01"), "before it begins"),
        (("--from", "1990-01-01", "--to", "2026-10-01"), "more than 3660 days"),
        ((*PERIOD, "--output", "/nowhere/at/all"), "cannot be written"),
    ],
)
def test_mistakes_are_one_sentence(
    ledger: Database, command: click.Group, options: tuple[str, ...], said: str
) -> None:
    found = run(command, ledger, "report", *options)
    assert found.exit_code == 2
    assert found.stdout == ""
    assert said in found.stderr
    assert len(found.stderr.splitlines()) == 1


def test_a_name_cannot_write_on_the_terminal(ledger: Database, command: click.Group) -> None:
    fill(ledger, full("s1", "evil\x1b[2Jname\n", at("2026-10-10T08:00"), 10, used=0.5))
    said = run(command, ledger, "report", *PERIOD, "--by", "user")
    assert "\x1b" not in said.stdout
    assert "evil?[2Jname?" in said.stdout


def test_a_history_is_made_once(ledger: Database, command: click.Group, tmp_path: Path) -> None:
    nothing = run(command, ledger, "history")
    assert nothing.exit_code == 2
    assert "knows no catalog yet" in nothing.stderr
    fill(ledger)
    people: dict[str, Any] = {CMS: [{"account": "id-alice", "name": "alice"}]}
    path = tmp_path / "people.json"
    path.write_text(json.dumps(people))
    options = ("--days", "20", "--until", "2026-11-23", "--people", str(path))
    assert "sessions generated." in run(command, ledger, "history", *options).stdout
    assert "already" in run(command, ledger, "history", *options).stdout
    november = ("--from", "2026-11-01", "--to", "2026-11-30", "--simulated", "only")
    options = ("--by", "user", "--group", CMS, "--format", "json")
    said = run(command, ledger, "report", *november, *options)
    assert [row["key"] for row in json.loads(said.stdout)] == ["alice"]
    path.write_text('{"/x": 3}')
    bad = run(command, ledger, "history", "--people", str(path))
    assert bad.exit_code == 2
    assert "does not say who is in which group" in bad.stderr
