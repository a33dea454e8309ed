"""Past usage from files: good rows loaded once, bad ones reported with line and reason."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arcetri_accounting.ledger import importing, importrows
from arcetri_accounting.ledger.errors import Refused
from arcetri_accounting.ledger.importing import Report
from arcetri_accounting.ledger.importrows import Bad, Entry, Line
from arcetri_accounting.ledger.tables import AllocationRow, Dimensions, ImportedRow, Person
from arcetri_accounting.ledger.verify import verify
from tests.accounting.ledger.builders import T0, allocation, batch, catalog, seen, segment
from tests.accounting.ledger.harness import Ledger

HEADER = "external_id,start,end,user,group,flavor,gpus\n"
NOW = 1_800_000_000_000
GOOD = "j1,2026-03-29T00:00:00Z,2026-03-29T04:00:00Z,alice,/g/cms,t4,1"
SACCT = "JobID|User|Account|Partition|Start|End|AllocTRES"


def lines(text: str | bytes) -> Iterator[Line]:
    content = text.encode() if isinstance(text, str) else text
    return importrows.read_csv(io.BytesIO(content), NOW)


def load(ledger: Ledger, text: str | bytes, **options: Any) -> Report:
    values: dict[str, Any] = {"site": None, "kind": "notebook"}
    return importing.load(ledger.database, lines(text), **values | options)


def slurm(*rows: str, zone: str = "Europe/Rome") -> list[Line]:
    text = "\n".join([SACCT, *rows]).encode()
    return list(importrows.read_sacct(io.BytesIO(text), NOW, zone))


def test_a_file_is_loaded_once(ledger: Ledger) -> None:
    text = HEADER + GOOD + "\n" + GOOD.replace("j1", "j2").replace(",1", ",0.5") + "\n"
    first = load(ledger, text)
    assert (first.loaded, first.already, first.refused, first.rounded) == (2, 0, [], [])
    quarters, days = ledger.quarters(), ledger.days()
    assert sum(sums[1] for sums in quarters.values()) == 10_080 * 3 * 4 * 3_600_000 // 2
    again = load(ledger, text)
    assert (again.loaded, again.already) == (0, 2)
    assert (ledger.quarters(), ledger.days()) == (quarters, days)
    assert {key[2] for key in quarters} == {"imported"}
    assert verify(ledger.database).findings == []


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (GOOD.replace("00:00:00Z", "00:00:00"), "has no zone"),
        (GOOD.replace("2026-03-29T04", "yesterday"), "no ISO 8601"),
        (GOOD.replace("T04", "T00"), "end is not after start"),
        (GOOD.replace("2026-03-29T04", "2099-03-29T04"), "more than 366 days"),
        (GOOD.replace("2026-03-29", "2099-03-29"), "in the future"),
        (GOOD.replace("2026", "1970"), "before 1980"),
        (GOOD.replace("2026-03-29", "0001-01-01"), "before 1980"),
        (GOOD.replace("t4,1", "t4,0"), "less than half"),
        (GOOD.replace("t4,1", "t4,-1"), "no decimal number"),
        (GOOD.replace("t4,1", "t4,1e3"), "no decimal number"),
        (GOOD.replace("t4,1", "t4,nan"), "no decimal number"),
        (GOOD.replace("t4,1", "t4,99999"), "more than 10000"),
        (GOOD.replace("t4,1", "t4," + "9" * 90), "more than 10000"),
        (GOOD.replace("t4,1", "t4,1." + "1" * 9000), "more than 100 characters"),
        (
            "j1,2025-03-29T00:00:00Z,2026-03-28T00:00:00Z,alice,/g,t4,10000",
            "it has 3640000 GPU-days, and one record may have 100000",
        ),
        (GOOD.replace("alice", ""), "user is empty"),
        (GOOD.replace("alice", "a\x00b"), "printable"),
        (GOOD.replace("alice", "a" * 256), "at most 255"),
        (GOOD.replace("/g/cms", "/g//cms"), "no path"),
        (GOOD.replace("/g/cms", "/"), "no path"),
        (GOOD.replace("t4,1", "1"), "6 fields, the header 7"),
        (GOOD + ",more", "8 fields, the header 7"),
        ('"' + GOOD, "quote"),
        (GOOD.replace("alice", "x" * 70_000), "more than 65536 bytes"),
        (GOOD.replace("1,2026", ",2026").replace("j,", ",", 1), "external_id is empty"),
    ],
)
def test_a_bad_row_is_refused_alone_with_its_line(ledger: Ledger, row: str, why: str) -> None:
    text = HEADER + "\n" + row + "\n" + GOOD.replace("j1", "good") + "\n"
    report = load(ledger, text)
    assert report.loaded == 1
    (bad,) = report.refused
    assert bad.line == 3
    assert why in bad.why
    assert ledger.count(ImportedRow) == 1


def test_a_row_that_is_not_utf8_is_refused_alone(ledger: Ledger) -> None:
    text = HEADER.encode() + GOOD.replace("alice", "J\u00f6rg").encode("latin-1") + b"\r\n"
    report = load(ledger, text + GOOD.replace("alice", "J\u00f6rg").encode() + b"\r\n")
    assert ([bad.line for bad in report.refused], report.loaded) == ([2], 1)
    assert ledger.all(Person)[0].name == "J\u00f6rg"


def test_another_content_under_the_same_id_is_reported_and_changes_nothing(ledger: Ledger) -> None:
    load(ledger, HEADER + GOOD)
    days = ledger.days()
    other = GOOD.replace("T04", "T05")
    report = load(ledger, HEADER + other + "\n" + other)
    assert [bad.line for bad in report.refused] == [2, 3]
    assert "2026-03-29T00:00:00.000Z to 2026-03-29T04:00:00.000Z" in report.refused[0].why
    within = load(ledger, HEADER + GOOD.replace("j1", "k") + "\n" + other.replace("j1", "k"))
    assert (within.loaded, [bad.line for bad in within.refused]) == (1, [3])
    assert "on line 2" in within.refused[0].why
    assert days.keys() == ledger.days().keys()


def test_a_file_is_loaded_once_whatever_the_site_is_called(ledger: Ledger) -> None:
    text = HEADER + GOOD + "\n" + GOOD.replace("j1", "j2")
    for number, site in enumerate(("", "CNAF", "Renamed", "CNAF")):
        if site:
            ledger.see(seen(catalog(number, T0 + number, zone="UTC", site=site)))
        report = load(ledger, text)
        assert (report.loaded, report.already) == ((0, 2) if number else (2, 0)), site
    assert sum(sums[0] for sums in ledger.days().values()) == 10_080 * 2 * 4 * 3_600_000
    assert load(ledger, HEADER + GOOD.replace("T04", "T05")).refused
    # What is new then is shown under the name that holds.
    load(ledger, HEADER + GOOD.replace("j1", "j3"))
    assert {row.site for row in ledger.all(Dimensions)} == {"", "CNAF"}
    assert {row.site for row in ledger.all(ImportedRow)} == {""}


def test_the_same_id_of_another_site_is_another_record(ledger: Ledger) -> None:
    assert load(ledger, HEADER + GOOD, site="CNAF").loaded == 1
    assert load(ledger, HEADER + GOOD, site="LNF").loaded == 1
    assert ledger.count(ImportedRow) == 2


def test_rounding_is_reported(ledger: Ledger) -> None:
    rows = [GOOD.replace("j1", f"j{n}").replace(",1", f",{n}") for n in ("0.333333", "0.125")]
    report = load(ledger, HEADER + "\n".join(rows))
    assert report.to_json()["rounded"] == [
        {
            "line": 2,
            "external_id": "j0.333333",
            "gpus": "0.333333",
            "counted": "0.333333",
            "counted_exactly": "1/3",
        }
    ]
    assert sorted(row.share_u for row in ledger.all(AllocationRow)) == [1260, 3360]


@pytest.mark.parametrize(
    ("gpus", "share_u", "said"),
    [
        ("1.0000000000001", 10_080, "1"),
        ("2.3333333333333333333333", 23_520, "2 1/3"),
        ("." + "3" * 99, 3_360, "1/3"),
        ("0.14285714285714285", 1_440, "1/7"),
        ("1." + "0" * 60, 10_080, ""),
        ("000000000001", 10_080, ""),
    ],
)
def test_any_decimal_number_is_rounded_to_the_unit(gpus: str, share_u: int, said: str) -> None:
    (entry,) = lines(HEADER + GOOD.replace("t4,1", f"t4,{gpus}"))
    assert isinstance(entry, Entry)
    assert (entry.share_u, bool(entry.rounded)) == (share_u, bool(said))
    if said:
        assert importrows.exact_text(share_u) == said


def test_a_conflict_says_all_that_is_there(ledger: Ledger) -> None:
    """What differs may be anything, not only the times."""
    load(ledger, HEADER + GOOD.replace("t4,1", "t4,0.25"))
    there = "user alice, group /g/cms, flavor t4, gpus 1/4; it stays as it is"
    (bad,) = load(ledger, HEADER + GOOD.replace("t4,1", "t4,0.5")).refused
    assert there in bad.why
    again = GOOD.replace("j1", "k")
    (bad,) = load(ledger, HEADER + again + "\n" + again.replace("alice", "bob")).refused
    assert "user alice, group /g/cms, flavor t4, gpus 1; it stays" in bad.why


def test_a_user_whose_name_is_known_is_that_person(ledger: Ledger) -> None:
    alice = allocation()
    ledger.take(batch([segment(1, alice, T0)], alice))
    load(ledger, HEADER + GOOD + "\n" + GOOD.replace("j1", "j2").replace("alice", "bob"))
    people = {row.name: row.account for row in ledger.all(Person)}
    assert people["alice"] == "a-alice"
    assert people["bob"].startswith("imported:")


def test_long_ids_stay_apart(ledger: Ledger) -> None:
    rows = [GOOD.replace("j1", "https://ce.example/" + "a" * 60 + end) for end in "xy"]
    assert load(ledger, HEADER + "\n".join(rows)).loaded == 2
    assert len({row.session for row in ledger.all(AllocationRow)}) == 2


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("", "lacks external_id"),
        ("external_id,start,end,user,group,flavor", "lacks gpus"),
        (HEADER.strip() + ",colour", "a column 'colour'"),
        (HEADER.replace("flavor", "flavour").strip(), "did you mean flavor?"),
        (HEADER.strip() + ",user", "user twice"),
        ("\x00\x01\x02", "lacks"),
    ],
)
def test_a_file_without_the_header_is_refused_whole(header: str, said: str) -> None:
    with pytest.raises(Refused) as caught:
        lines(header + "\n" + GOOD)
    assert said in caught.value.message
    assert "external_id,start,end,user,group,flavor,gpus" in caught.value.remedy


def test_what_spreadsheets_write_is_read() -> None:
    text = "\ufeffgpus;external_id;start;end;user;group;flavor\r\n"
    text += '1;"j;1";2026-03-29T00:00:00+02:00;2026-03-29T04:00:00+02:00;alice;g/cms/;t4\r\n'
    (entry,) = lines(text)
    assert isinstance(entry, Entry)
    assert (entry.external_id, entry.group, entry.dur_ms) == ("j;1", "/g/cms", 4 * 3_600_000)


def test_jobs_of_slurm() -> None:
    found = slurm(
        "12|alice|cms|gpu|2026-03-29T01:00:00|2026-03-29T04:00:00|cpu=8,gres/gpu:a100=2,gres/gpu=2,mem=64G",
        "12.batch||cms||2026-03-28T10:00:00|2026-03-28T12:00:00|cpu=8,mem=64G",
        "13_4|bob|cms|cpu|2026-03-28T10:00:00|2026-03-28T12:00:00|cpu=8,mem=512M",
        "14|bob|cms|gpu|2026-03-28T10:00:00|Unknown|cpu=8",
        "15|bob|cms|gpu|None|2026-03-28T10:00:00|",
        "16|bob|cms|gpu|2026-03-28T10:00:00|2026-03-28T12:00:00|gres/gpu:a100=1,gres/gpu:t4=1",
        "17|bob|cms|gpu|2026-03-28T10:00:00|2026-03-28T12:00:00|cpu=1,gres/gpu=1",
    )
    job = found[0]
    assert isinstance(job, Entry)
    # The clocks went forward within it.
    assert (job.dur_ms, job.share_u, job.flavor) == (2 * 3_600_000, 2 * 10_080, "a100")
    assert (job.millicores, job.memory, job.group) == (8000, 64 * 2**30, "/cms")
    assert [type(one).__name__ for one in found[1:]] == [
        *("Skipped", "Entry", "Bad", "Skipped", "Bad", "Entry")
    ]
    assert isinstance(found[2], Entry)
    assert (found[2].share_u, found[2].memory) == (0, 2**29)
    assert isinstance(found[6], Entry)
    assert found[6].flavor == "gpu"


def test_records_cannot_make_a_sum_that_no_report_can_read(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two of these rows fit.
    monkeypatch.setattr(importing, "_MOST", 10_080 * 9 * 3_600_000)
    rows = [GOOD.replace("j1", f"j{number}") for number in (1, 2, 3)]
    first = load(ledger, HEADER + "\n".join(rows))
    assert (first.loaded, [bad.line for bad in first.refused]) == (2, [4])
    assert "more than it can hold" in first.refused[0].why
    again = load(ledger, HEADER + "\n".join(rows))
    assert (again.loaded, again.already, [bad.line for bad in again.refused]) == (0, 2, [4])


def test_a_slice_of_slurms_counts_as_its_share() -> None:
    when = "2026-03-28T10:00:00|2026-03-28T12:00:00"
    profiles = [("a100_3g.20gb", 2, 6 / 7), ("nvidia_h100_1g.10gb", 1, 1 / 7)]
    profiles += [("a30_1g.6gb", 1, 1 / 4), ("a100", 1, 1), ("a100_7g.40gb", 1, 1)]
    found = slurm(
        *(
            f"{number}|bob|cms|gpu|{when}|gres/gpu={count},gres/gpu:{name}={count}"
            for number, (name, count, _) in enumerate(profiles)
        )
    )
    for entry, (_, _, devices) in zip(found, profiles, strict=True):
        assert isinstance(entry, Entry)
        assert entry.share_u == round(10_080 * devices)


def test_an_hour_that_comes_twice_is_told(ledger: Ledger) -> None:
    rows = [
        "1|bob|cms|gpu|2025-10-26T02:30:00|2025-10-26T03:30:00|gres/gpu=1",
        "2|bob|cms|gpu|2025-10-26T02:30:00+01:00|2025-10-26T03:30:00|gres/gpu=1",
    ]
    told: list[object] = []
    report = importing.load(
        ledger.database, iter(slurm(*rows)), site=None, kind="batch", note=told.append
    )
    (one,) = report.noted
    assert told == [one]
    assert (one.line, one.dur_ms) == (2, 2 * 3_600_000)
    assert "was twice in Europe/Rome" in report.to_json()["noted"][0]["how"]


def test_jobs_without_a_device_count_core_hours_only(ledger: Ledger) -> None:
    row = "13|bob|cms|cpu|2026-03-28T10:00:00|2026-03-28T12:00:00|cpu=8,mem=512M"
    importing.load(ledger.database, iter(slurm(row)), site=None, kind="batch")
    totals = [sum(one) for one in zip(*ledger.quarters().values(), strict=True)]
    assert (totals[1], totals[6]) == (0, 8000 * 2 * 3_600_000)
    assert verify(ledger.database).findings == []


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.binary(max_size=200), max_size=8))
def test_no_line_breaks_the_reader(rubbish: list[bytes]) -> None:
    text = HEADER.encode() + b"\n".join([*rubbish, GOOD.encode()])
    found = list(lines(text))
    assert isinstance(found[-1], Entry | Bad)
    assert all(isinstance(one, Entry | Bad) and one.line > 1 for one in found)
