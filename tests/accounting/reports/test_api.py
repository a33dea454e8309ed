"""The API against its own description."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from arcetri_accounting.ledger.app import build_app
from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.settings import LedgerSettings
from tests.accounting.ledger.builders import token_file
from tests.accounting.reports.world import (
    ASTRO,
    CMS,
    PEOPLE,
    PREFIX,
    NamedReaders,
    Use,
    at,
    build,
    client,
    fill,
    full,
)

OPERATIONS = {
    ("GET", "api/v1/report"): "alice",
    ("GET", "api/v1/completeness"): "alice",
    ("GET", "api/v1/sessions"): "alice",
    ("GET", "api/v1/sessions/{session_id}"): "alice",
    ("GET", "api/v1/discrepancies"): "alice",
    ("GET", "api/v1/hints"): "alice",
    ("GET", "api/v1/quota"): "alice",
    ("GET", "api/v1/catalog"): "alice",
    ("GET", "api/v1/capacity"): "dario",
    ("GET", "api/v1/lengths"): "hub-token",
    ("GET", "api/v1/health"): "",
    ("GET", "metrics"): "look-token",
    ("POST", "api/v1/batches"): "agent-token",
    ("POST", "api/v1/witness"): "hub-token",
}
"""Every operation that is served, and who asks for it."""
ASKED_FOR_NOTHING = {("GET", "api/v1/health"), ("GET", "metrics")}


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The application as it is served, with usage in it; only who reads is told by a header."""
    folder = tmp_path_factory.mktemp("api")
    url = f"sqlite:///{folder}/ledger.sqlite"
    database = Database.open(url)
    fill(
        database,
        full("s1", "alice", at("2026-11-10T08:00"), 10, used=0.5, mem_peak=1 << 30),
        full("s2", "bruno", at("2026-11-11T08:00"), 50, used=0.0, simulated=True),
        Use("s3", "carla", group=ASTRO, flavor="v70", start=at("2026-11-20T09:58")),
        Use("s4", "alice", start=at("2026-11-23T09:58"), dur_ms=100_000, open=True),
    )
    database.close()
    return schemathesis.openapi.from_asgi(f"{PREFIX}api/v1/openapi.json", served(url, folder))


def served(url: str, folder: Path) -> Any:
    """The application that ``arcetri-ledger serve`` makes, with nobody told to ask later."""
    credentials = token_file(
        folder / "credentials.json",
        {"token": "agent-token", "role": "agent", "node": "n1"},
        {"token": "hub-token", "role": "witness", "writer": "hub"},
        {"token": "look-token", "role": "metrics"},
    )
    told = LedgerSettings(
        database=url,
        credentials=credentials,
        rate=10**6,
        burst=10**6,
        read_rate=10**6,
        read_burst=10**6,
        stranger_rate=10**6,
        stranger_burst=10**6,
    )
    return build_app(told, NamedReaders(PEOPLE), tasks=False)


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [
        (*operation, mode)
        for operation in OPERATIONS
        for mode in GenerationMode
        if mode is GenerationMode.POSITIVE or operation not in ASKED_FOR_NOTHING
    ],
)
def test_every_answer_is_as_described(
    described: Any, method: str, path: str, mode: GenerationMode
) -> None:
    operation = described[f"{PREFIX}{path}"][method]
    asking = OPERATIONS[method, path]
    sender = "n1" if asking == "agent-token" else "hub"

    @settings(
        max_examples=60 if method == "POST" else 30,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(case=operation.as_strategy(mode))
    def ask(case: schemathesis.Case) -> None:
        if mode is GenerationMode.POSITIVE and isinstance(case.body, dict):
            # Who may send it no schema can say.
            case.body["node" if "node" in case.body else "writer"] = sender
        # That a period ends before it begins no schema can say, and more is taken than it says: an
        # empty field of a form is none, and a bad record is set aside while the others are stored.
        case.call_and_validate(
            headers={"Authorization": f"Bearer {asking}"} if asking else None,
            excluded_checks=[positive_data_acceptance, negative_data_rejection],
        )

    ask()


def test_every_operation_is_asked(described: Any) -> None:
    found = {
        (method.upper(), path.removeprefix(PREFIX))
        for path, methods in described.raw_schema["paths"].items()
        for method in methods
    }
    assert found == set(OPERATIONS)


def test_mistakes_are_answered_with_a_code_and_what_is_wrong(ledger: Database) -> None:
    fill(ledger)
    alice = client(build(ledger), "alice")
    for path, params, words in (
        ("report", {"by": "moon"}, "by should be 'group'"),
        ("report", {"from": "yesterday"}, "from should be a day, such as 2026-11-23."),
        ("report", {"groupe": CMS}, "groupe is not known here; the parameters are: "),
        ("report", {"from": "2026-11-02", "to": "2026-11-01"}, "before it begins"),
        ("report", {"from": "1900-01-01"}, "1900-01-01"),
        ("report", {"simulated": "both"}, "simulated should be"),
        ("sessions", {"limit": 100_000}, "limit should be less than"),
        ("quota", {}, "group is missing."),
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
