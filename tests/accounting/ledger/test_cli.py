"""The commands: what they print, and one sentence for what a person got wrong."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from arcetri_accounting.ledger.cli import Group, main
from tests.accounting.ledger.builders import (
    T0,
    allocation,
    batch,
    catalog,
    ended,
    seen,
    segment,
    started,
)
from tests.accounting.ledger.harness import Ledger
from tests.accounting.ledger.test_importing import GOOD, HEADER, SACCT


def run(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--database", url])


def test_every_command_that_is_listed_is_found_by_its_name_alone() -> None:
    context = click.Context(Group("arcetri-ledger"))
    elsewhere = Group("arcetri-ledger").list_commands(context)
    assert {"capacity", "corrections", "history", "quarantine", "report"} == set(elsewhere)
    together = Group("arcetri-ledger")
    for name in elsewhere:
        # Each in a group of its own, into which nothing has loaded the others.
        assert Group("arcetri-ledger").get_command(context, name) is not None, name
        together.get_command(context, name)
    assert sorted(together.commands) == elsewhere


def test_import_report_and_verify(url: str, tmp_path: Path) -> None:
    path = tmp_path / "past.csv"
    path.write_text(HEADER + GOOD + "\n" + GOOD.replace("t4,1", "t4,x"), encoding="utf-8")
    first = run(url, "import", str(path))
    assert (first.exit_code, first.stdout.splitlines()[-1]) == (
        0,
        "1 loaded, 0 there already, 1 refused, 0 rounded",
    )
    assert "line 3: refused: gpus 'x'" in first.stdout
    assert run(url, "import", "--strict", str(path)).exit_code == 1
    rounded = tmp_path / "rounded.csv"
    rounded.write_text(HEADER + GOOD.replace("j1", "j9").replace("t4,1", "t4,0.333333"))
    said = run(f"sqlite:///{tmp_path}/rounded.sqlite", "import", str(rounded)).stdout
    assert "line 2: rounded: gpus 0.333333 counts as 1/3" in said
    again = json.loads(run(url, "import", "--format", "json", str(path)).stdout)
    assert (again["loaded"], again["already"], again["refused"][0]["line"]) == (0, 1, 3)
    days = ("--from", "2026-03-01", "--to", "2026-03-31")
    shown = run(url, "report", *days, "--by", "user", "--format", "json")
    (row,) = json.loads(shown.stdout)
    assert (row["key"], row["allocated_gpu_hours"]) == ("alice", "4.000000")
    checked = run(url, "verify", "--format", "json")
    assert (checked.exit_code, json.loads(checked.stdout)["findings"]) == (0, [])
    exported = run(url, "export", *days, "--format", "egi", "--site", "CNAF").stdout
    assert json.loads(exported)["UsageRecords"][0]["AvailableDuration"] == 4 * 3600


def test_an_export_names_the_site_or_says_that_it_has_none(ledger: Ledger, tmp_path: Path) -> None:
    url = ledger.database.engine.url.render_as_string(hide_password=False)
    path = tmp_path / "past.csv"
    path.write_text(HEADER + GOOD, encoding="utf-8")
    run(url, "import", str(path))
    days = ("--from", "2026-03-01", "--to", "2026-03-31", "--format")

    def site(*options: str) -> str:
        (record,) = json.loads(run(url, "export", *days, "egi", *options).stdout)["UsageRecords"]
        return str(record["SiteName"])

    for style in ("egi", "auditor"):
        refused = run(url, "export", *days, style)
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert "before any catalog named the site" in refused.stderr
        assert "--site" in refused.stderr
    assert site("--site", "LNF") == "LNF"
    ledger.see(seen(catalog(1)))
    assert site() == "CNAF"
    assert site("--site", "LNF") == "LNF"
    # What was recorded under a name keeps it.
    run(url, "import", "--site", "old", str(path.rename(tmp_path / "other.csv")))
    records = json.loads(run(url, "export", *days, "egi").stdout)["UsageRecords"]
    assert sorted(one["SiteName"] for one in records) == ["CNAF", "old"]


def test_what_is_said_differently_is_listed(ledger: Ledger) -> None:
    of = allocation()
    ledger.take(batch([segment(1, of, T0)], of))
    ledger.see(seen(started(1, group="/ga"), ended(2, at=T0 + 300_000)))
    ledger.reconcile(T0 + 3_600_000)
    url = str(ledger.database.url)
    assert run(url, "discrepancies").stdout.splitlines() == [
        "s1 group: agent: /g/cms; spawner: /ga",
        "1 discrepancies",
    ]
    assert json.loads(run(url, "discrepancies", "--format", "json").stdout) == [
        {"session": "s1", "code": "group", "agent_says": "/g/cms", "witness_says": "/ga"}
    ]


def test_what_wrote_a_file_is_told_from_its_first_line(url: str, tmp_path: Path) -> None:
    path = tmp_path / "jobs"
    row = "1|bob|cms|gpu|2026-03-28T10:00:00|2026-03-28T12:00:00|gres/gpu=1"
    path.write_text(f"{SACCT}\n{row}\n", encoding="utf-8")
    assert "1 loaded" in run(url, "import", "--zone", "Europe/Rome", str(path)).stdout
    assert run(url, "import", "--zone", "Mars", str(path)).exit_code == 2


def test_verify_ends_with_1_where_not_all_is_well(ledger: Ledger, url: str) -> None:
    one = allocation()
    ledger.take(batch([segment(1, one, T0), segment(2, one, T0 + 1)], one))
    found = run(url, "verify")
    assert found.exit_code == 1
    assert found.stdout.startswith("overlap: session s1 on GPU-1")


def test_upkeep(ledger: Ledger, url: str, tmp_path: Path) -> None:
    one = allocation()
    ledger.take(batch([segment(1, one, T0)], one))
    times = ("--from", "2026-03-20T09:45:00Z", "--to", "2026-03-20T09:45:36Z")
    made = run(url, "correct", "--session", "s1", *times, "--remove", "--reason", "power cut")
    assert "-0.010000 device-hours" in made.stdout
    assert "1 segments" in run(url, "prune", "--raw-days", "1").stdout
    assert "0 sessions" in run(url, "reconcile").stdout
    assert "erased person" in run(url, "erase", "alice", "--yes").stdout
    path = tmp_path / "b"
    assert "rows written" in run(url, "backup", str(path)).stdout
    other = f"sqlite:///{tmp_path}/new.sqlite"
    assert "rows restored" in run(other, "restore", str(path)).stdout
    assert run(other, "verify").exit_code == 0


def test_corrections_are_listed_with_author_and_reason(ledger: Ledger, url: str) -> None:
    assert "no corrections" in run(url, "corrections").stdout
    one = allocation()
    ledger.take(batch([segment(1, one, T0)], one))
    span = ("--from", "2026-03-20T09:45:00Z", "--to", "2026-03-20T09:45:36Z")
    who = ("--author", "op", "--reason", "power cut")
    assert run(url, "correct", "--session", "s1", *span, "--remove", *who).exit_code == 0
    (row,) = json.loads(run(url, "corrections", *span, "--format", "json").stdout)
    made_at = row.pop("made_at")
    assert row == {
        "id": 1,
        "author": "op",
        "session": "s1",
        "device": "GPU-1",
        "from": "2026-03-20T09:45:00.000Z",
        "to": "2026-03-20T09:45:36.000Z",
        "device_hours": "-0.010000",
        "reason": "power cut",
    }
    assert made_at.endswith("Z")
    assert "op      s1       GPU-1" in run(url, "corrections").stdout
    assert "no corrections" in run(url, "corrections", "--from", "2026-03-21T00:00:00Z").stdout
    assert run(url, "corrections", "--to", "noon").exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "--database", "mysql://x"),
        ("verify", "--database", "sqlite://"),
        ("verify", "--database", "sqlite:////nowhere/at/all.sqlite"),
        ("verify", "--database", "postgresql://x@127.0.0.1:1/x"),
        ("restore", "/nowhere/b", "--database", "{url}"),
        ("backup", "/nowhere/b", "--database", "{url}"),
        ("erase", "nobody", "--yes", "--database", "{url}"),
        ("serve", "--credentials", "/nowhere", "--database", "{url}"),
        ("serve", "--prefix", "no slash", "--database", "{url}"),
        *(
            (
                "correct",
                "--session",
                "s",
                "--from",
                at,
                "--to",
                at,
                "--reason",
                "r",
                "--database",
                "{url}",
            )
            for at in ("2026-03-20T09:45:00Z", "noon")
        ),
    ],
)
def test_a_mistake_is_one_sentence_and_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    url = f"sqlite:///{tmp_path}/l.sqlite"
    result = CliRunner().invoke(main, [one.replace("{url}", url) for one in arguments])
    assert result.exit_code == 2
    assert result.stderr.startswith("arcetri-ledger: ")
    assert len(result.stderr.splitlines()) == 1
    assert "Traceback" not in result.output


def test_the_database_is_taken_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCETRI_LEDGER_DATABASE", f"sqlite:///{tmp_path}/env.sqlite")
    assert CliRunner().invoke(main, ["verify"]).exit_code == 0
    assert (tmp_path / "env.sqlite").exists()


def test_retention_is_taken_from_the_environment(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = allocation()
    ledger.take(batch([segment(1, one, T0)], one))
    url = str(ledger.database.url)
    monkeypatch.setenv("ARCETRI_LEDGER_RAW", "keep")
    monkeypatch.setenv("ARCETRI_LEDGER_RAW_DAYS", "1")
    assert "0 segments" in run(url, "prune").stdout
    monkeypatch.setenv("ARCETRI_LEDGER_RAW", "drop")
    assert "1 segments" in run(url, "prune").stdout
    monkeypatch.setenv("ARCETRI_LEDGER_QUARTER_YEARS", "none")
    assert run(url, "prune").exit_code == 2


def test_what_was_set_aside_can_be_looked_at(ledger: Ledger) -> None:
    of = allocation()
    url = str(ledger.database.url)
    assert run(url, "quarantine").stdout == "Nothing is set aside.\n"
    ledger.take(batch([segment(1, of, T0)], of))
    ledger.take(batch([segment(1, of, T0, occupied_ms=1, unobserved_ms=299_999)], of))
    assert "agent:n1" in run(url, "quarantine").stdout
    (row,) = json.loads(run(url, "quarantine", "--format", "json").stdout)
    assert (row["writer"], row["seq"], row["code"]) == ("agent:n1", 1, "conflict")
    assert json.loads(row["content"])["occupied_ms"] == 1
