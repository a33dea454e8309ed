from __future__ import annotations

import csv
import io
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcetri_accounting.ledger.database import Database
from arcetri_accounting.reports import csvfile
from tests.accounting.reports.world import ASTRO, Use, at, build, client, fill, full

HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", 'say "hi"; ok, no\r\nline', "Ænea", " =1"]


def _rows(text: str, delimiter: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))


def test_a_file_has_the_very_numbers_of_the_api(ledger: Database) -> None:
    fill(
        ledger,
        full("s1", "alice", at("2026-11-10T08:00"), 10.5, used=0.5),
        Use("s2", "bruno", start=at("2026-11-11T08:00"), flavor="a100-1g", dur_ms=1_234_567),
        Use("s3", "carla", group=ASTRO, flavor="v70", start=at("2026-11-11T08:00")),
        Use("s4", "carla", group=ASTRO, flavor="cpu", start=at("2026-11-11T08:00"), millicores=500),
    )
    dario = client(build(ledger), "dario")
    for by in ("group", "user", "flavor", "day", "month"):
        answer = dario.get("report.csv", by=by)
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
        assert f"by-{by}.csv" in answer.headers["Content-Disposition"]
        text = answer.content.decode("utf-8-sig")
        found = _rows(text)
        rows = dario.json("report", by=by)["rows"]
        assert len(found) == len(rows) > 0
        for line, row in zip(found, rows, strict=True):
            assert list(line) == list(csvfile.COLUMNS)
            assert line["by"] == by
            assert (line["from"], line["to"]) == ("2026-11-01", "2026-11-30")
            for name in ("key", "label", *csvfile.AMOUNTS):
                assert line[name] == (row[name] or ""), name


def test_commas_for_spreadsheets_that_expect_them(ledger: Database) -> None:
    fill(ledger, full("s1", "alice", at("2026-11-10T08:00"), 10.5, used=0.5))
    alice = client(build(ledger), "alice")
    point = _rows(alice.get("report.csv").content.decode("utf-8-sig"))
    comma = _rows(alice.get("report.csv", decimals="comma").content.decode("utf-8-sig"), ";")
    assert comma[0]["allocated_gpu_hours"] == "10,500000"
    for name in csvfile.AMOUNTS:
        assert comma[0][name].replace(",", ".") == point[0][name]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_is_run_as_a_formula_and_every_one_comes_back(ledger: Database, name: str) -> None:
    fill(ledger, full("s1", name, at("2026-11-10T08:00"), 1, used=0.5))
    dario = client(build(ledger), "dario")
    [row] = _rows(dario.get("report.csv", by="user").content.decode("utf-8-sig"))
    guard = "'" if name[0] in "=+-@\t" else ""
    assert row["key"] == guard + name


@given(st.text(max_size=12))
def test_a_guarded_text_begins_with_nothing_that_runs(text: str) -> None:
    found = csvfile.guarded(text)
    assert not found.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert found.removeprefix("'") == text.removeprefix("'")


def test_numbers_are_numbers(ledger: Database) -> None:
    fill(ledger, full("s1", "alice", at("2026-11-10T08:00"), 1, used=0.5))
    [row] = _rows(client(build(ledger), "alice").get("report.csv").content.decode("utf-8-sig"))
    for name in csvfile.AMOUNTS:
        assert Decimal(row[name]) >= 0


def test_what_was_measured_stands_beside_what_was_used(ledger: Database) -> None:
    fill(
        ledger,
        full("idle", "alice", at("2026-11-10T08:00"), 1, used=0.0),
        Use("past", "bruno", start=at("2026-11-11T08:00"), provenance="imported"),
    )
    text = client(build(ledger), "dario").get("report.csv", by="user").content.decode("utf-8-sig")
    rows = {row["key"]: row for row in _rows(text)}
    assert {row["used_gpu_hours"] for row in rows.values()} == {"0.000000"}
    idle, past = rows["alice"], rows["bruno"]
    assert (idle["measured_gpu_hours"], idle["used_fraction"]) == ("1.000000", "0.000000")
    assert (past["measured_gpu_hours"], past["used_fraction"]) == ("0.000000", "")
    assert past["unobserved_gpu_hours"] == past["allocated_gpu_hours"]


def test_an_empty_period_has_only_its_header(ledger: Database) -> None:
    fill(ledger)
    text = client(build(ledger), "alice").get("report.csv").content.decode("utf-8-sig")
    assert text == ",".join(csvfile.COLUMNS) + "\r\n"
