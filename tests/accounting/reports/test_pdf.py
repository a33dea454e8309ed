from __future__ import annotations

import io
import re

from pypdf import PdfReader

from arcetri_accounting.ledger.database import Database
from tests.accounting.reports.world import CMS, HOUR, NOW, Use, at, build, client, fill, full


def _text(content: bytes) -> str:
    """The words of every page, one space apart."""
    reader = PdfReader(io.BytesIO(content))
    text = " ".join(page.extract_text() for page in reader.pages)
    return re.sub(r"\s+", " ", text).replace("\u202f", " ")


def _filled(ledger: Database) -> None:
    fill(
        ledger,
        full("s1", "alice", at("2026-10-10T08:00"), 10, used=0.5, mem_peak=1 << 30),
        full("s2", "bruno", at("2026-10-12T08:00"), 30, used=0.0, mem_peak=0),
        Use("s3", "bruno", flavor="a100-1g", start=at("2026-10-13T08:00"), dur_ms=7 * HOUR,
            occupied_ms=5 * HOUR, unobserved_ms=HOUR),
        Use("s4", "bruno", start=at("2026-10-14T08:00"), dur_ms=2 * HOUR, provenance="reconciled"),
        full("s5", "alice", at("2026-10-20T08:00"), 3, used=0.5, simulated=True),
    )  # fmt: skip


def test_it_says_what_the_page_says(ledger: Database) -> None:
    _filled(ledger)
    alice = client(build(ledger), "alice")
    params = {"view": "group", "group": CMS, "month": "2026-10"}
    answer = alice.get("report.pdf", **params)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/pdf"
    reader = PdfReader(io.BytesIO(answer.content))
    text = _text(answer.content)
    assert reader.metadata is not None
    assert reader.metadata.title == f"GPU usage of {CMS}, October 2026"
    assert f"Page 1 of {len(reader.pages)}" in text
    assert "AI platform" in text
    assert "October 2026" in text
    report = alice.json("report", by="user", **params)
    assert report["total"]["allocated_gpu_hours"] == "43.000000"
    for words in (
        "43.00 GPU-hours allocated",
        "5.00 of 40.00 GPU-hours",
        "Everybody's usage in /lab/cms.",
        "2.00 GPU-hours (5 %) were seen by no agent",
        "Against the quota",
        "no process on the device",
        "30 h 00 min",
        "alice", "bruno", "NVIDIA T4", "A100 slice", "not measurable", "2026-10-13",
    ):  # fmt: skip
        assert words in text, (words, text)
    assert "Simulated devices" not in text


def test_the_axis_has_round_numbers_that_are_what_they_say(ledger: Database) -> None:
    _filled(ledger)
    params = {"view": "group", "group": CMS, "month": "2026-10"}
    text = _text(client(build(ledger), "alice").get("report.pdf", **params).content)
    assert re.search(r"\b0 5 10 15 20\b", text), text


def test_it_lists_the_sessions_of_the_page_and_says_how_many_more(ledger: Database) -> None:
    fill(
        ledger,
        *(full(f"s{n}", "alice", at("2026-10-02T08:00") + n * HOUR, 1, used=0.5)
          for n in range(18)),
        Use("f", "bruno", flavor="v70", start=at("2026-10-09T08:00")),
    )  # fmt: skip
    params = {"view": "group", "group": CMS, "month": "2026-10"}
    text = _text(client(build(ledger), "alice").get("report.pdf", **params).content)
    assert "2026-10-09 10:00" in text, "local time, the newest first"
    assert "1.00 FPGA \u2013 \u2013 \u2013" in text, "nothing is claimed about its use"
    assert "And 4 older ones" in text


def test_simulated_devices_are_a_document_of_their_own(ledger: Database) -> None:
    _filled(ledger)
    answer = client(build(ledger), "alice").get("report.pdf", month="2026-10", simulated="only")
    text = _text(answer.content)
    assert "Simulated devices. Leases were counted" in text
    assert "3.00 GPU-hours allocated" in text


def test_names_are_only_ever_text(ledger: Database) -> None:
    hostile = '#panic("x") $x$ *bold* @label <a> \\ `raw` "]#[{'
    fill(ledger, full("s1", hostile, at("2026-10-10T08:00"), 10, used=0.5))
    answer = client(build(ledger), "dario").get("report.pdf", month="2026-10")
    assert answer.status_code == 200
    assert '#panic("x") $x$ *bold* @label <a>' in _text(answer.content)


def test_empty_and_long_periods_are_typeset(ledger: Database) -> None:
    fill(ledger)
    dario = client(build(ledger), "dario")
    empty = _text(dario.get("report.pdf", month="2026-10").content)
    assert "Nothing in this period." in empty
    assert "The period is over, and its data is complete." in empty
    fill(
        ledger,
        *(full(f"s{n}", f"u{n}", at("2026-10-10T08:00"), n + 1, used=0.5) for n in range(90)),
    )
    answer = dario.get("report.pdf", **{"from": "2017-01-01", "to": "2026-11-23"})
    assert len(PdfReader(io.BytesIO(answer.content)).pages) > 2


def test_final_numbers_are_the_same_document_whenever_it_is_made(ledger: Database) -> None:
    _filled(ledger)
    params = {"view": "group", "group": CMS, "month": "2026-10"}
    one, two = (
        client(build(ledger, now=now), "alice").get("report.pdf", **params).content
        for now in (NOW, NOW + 400 * 24 * HOUR + 1)
    )
    assert one == two
    assert "Final, in the days of Europe/Rome" in _text(one)
    assert not re.search(rb"CreationDate|ModDate|CreateDate", one)


def test_numbers_that_are_not_final_say_when_they_were_made(ledger: Database) -> None:
    _filled(ledger)
    answer = client(build(ledger), "alice").get("report.pdf", month="2026-11")
    assert "Made 2026-11-23 11:00 (Europe/Rome), not final" in _text(answer.content)
    metadata = PdfReader(io.BytesIO(answer.content)).metadata
    assert metadata is not None
    assert metadata.creation_date is not None
    assert f"{metadata.creation_date:%Y-%m-%d}" == "2026-11-23"
