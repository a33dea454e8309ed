"""The API against its own description."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from arcetri_accounting.ledger.database import Database
from tests.accounting.reports.world import (
    ASTRO,
    CMS,
    PREFIX,
    Use,
    at,
    build,
    client,
    fill,
    full,
)


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("api")
    database = Database.open(f"sqlite:///{folder}/ledger.sqlite")
    fill(
        database,
        full("s1", "alice", at("2026-11-10T08:00"), 10, used=0.5, mem_peak=1 << 30),
        full("s2", "bruno", at("2026-11-11T08:00"), 50, used=0.0, simulated=True),
        Use("s3", "carla", group=ASTRO, flavor="v70", start=at("2026-11-20T09:58")),
        Use("s4", "alice", start=at("2026-11-23T09:58"), dur_ms=100_000, open=True),
    )
    app = build(database)
    yield schemathesis.openapi.from_asgi(f"{PREFIX}api/v1/openapi.json", app)
    database.close()


PATHS = ["report", "completeness", "sessions", "sessions/{session_id}", "hints", "quota", "catalog"]


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_is_as_described(described: Any, path: str) -> None:
    operation = described[f"{PREFIX}api/v1/{path}"]["GET"]

    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(case=operation.as_strategy())
    def ask(case: schemathesis.Case) -> None:
        # That a period ends before it begins, or is too long, no schema can say.
        case.call_and_validate(
            headers={"Authorization": "Bearer alice"}, excluded_checks=[positive_data_acceptance]
        )

    ask()


def test_every_path_is_asked(described: Any) -> None:
    paths = {path.removeprefix(f"{PREFIX}api/v1/") for path in described.raw_schema["paths"]}
    assert paths == set(PATHS)


def test_mistakes_are_answered_with_a_code_and_what_is_wrong(ledger: Database) -> None:
    fill(ledger)
    alice = client(build(ledger), "alice")
    for path, params, words in (
        ("report", {"by": "moon"}, "by: "),
        ("report", {"from": "yesterday"}, "from: "),
        ("report", {"groupe": CMS}, "groupe: "),
        ("report", {"from": "2026-11-02", "to": "2026-11-01"}, "before it begins"),
        ("report", {"from": "1900-01-01"}, "1900-01-01"),
        ("report", {"simulated": "both"}, "simulated: "),
        ("sessions", {"limit": 100_000}, "limit: "),
        ("quota", {}, "group: "),
    ):
        answer = alice.get(f"api/v1/{path}", **params)
        assert answer.status_code == 422, (path, params)
        found = answer.json()
        assert found.keys() == {"code", "message", "remedy"}
        assert words in found["message"]
        assert found["remedy"]


def test_nothing_of_an_answer_is_kept_by_anybody(ledger: Database) -> None:
    fill(ledger)
    alice = client(build(ledger), "alice")
    for path in ("api/v1/report", "", "report.csv", "report.pdf", "chart.svg", "session?id=x"):
        headers = alice.get(path).headers
        assert headers["Cache-Control"] == "no-store", path
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_the_quota_and_the_catalog(ledger: Database) -> None:
    fill(ledger, full("s1", "bruno", at("2026-11-10T08:00"), 10, used=0.5))
    alice = client(build(ledger), "alice")
    found = alice.json("quota", group=CMS)
    assert [(one["flavor"], one["devices"], one["allocated_hours"]) for one in found["quotas"]] == [
        ("t4", 2, "10.000000"),
        ("a100-1g", 4, "0.000000"),
    ]
    # Two devices, from midnight in Rome on the 1st to now.
    assert found["quotas"][0]["entitled_hours"] == f"{2 * (22 * 24 + 11):.6f}"
    catalog = alice.json("catalog")
    assert (catalog["views"], catalog["groups"]) == (["own", "group"], [CMS])
    assert catalog["today"] == "2026-11-23"


def test_a_session_comes_with_its_quarter_hours(ledger: Database) -> None:
    fill(
        ledger,
        full("s1", "alice", at("2026-11-10T08:05"), 1, used=0.5, device="A"),
        full("s1", "alice", at("2026-11-10T08:05"), 1, used=0.5, device="B"),
        Use("s1", "alice", start=at("2026-11-10T09:05"), dur_ms=600_000, device="A",
            provenance="reconciled"),
    )  # fmt: skip
    found = client(build(ledger), "alice").json("sessions/s1")
    [session] = found["sessions"]
    assert session["provenance"] == ["agent", "reconciled"]
    assert session["allocated_gpu_hours"] == "2.166667"
    assert session["reconciled_gpu_hours"] == "0.166667"
    assert session["ended"] == "2026-11-10T09:15:00Z"
    quarters = [(one["start"][11:16], one["allocated_gpu_hours"]) for one in found["quarters"]]
    assert quarters == [
        ("08:00", "0.333333"),
        ("08:15", "0.500000"),
        ("08:30", "0.500000"),
        ("08:45", "0.500000"),
        ("09:00", "0.333333"),
    ]
