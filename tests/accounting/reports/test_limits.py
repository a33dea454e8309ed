"""How often one reader is answered: so often, and then told when to ask again."""

from __future__ import annotations

from pathlib import Path

import pytest

from arcetri_accounting.ledger.app import build_app
from arcetri_accounting.ledger.settings import LedgerSettings
from tests.accounting.reports.world import PEOPLE, NamedReaders, client


@pytest.mark.parametrize(
    ("path", "kind"),
    [("api/v1/catalog", "application/json"), ("", "text/html"), ("report.pdf", "text/html")],
)
def test_a_reader_who_asks_too_often_is_told_when_to_ask_again(
    tmp_path: Path, path: str, kind: str
) -> None:
    told = LedgerSettings(
        database=f"sqlite:///{tmp_path}/ledger.sqlite",
        read_rate=0.1, read_burst=4, pdf_rate=0.1, pdf_burst=2,
    )  # fmt: skip
    app = build_app(told, NamedReaders(PEOPLE), tasks=False)
    alice, bruno = client(app, "alice"), client(app, "bruno")
    burst = 2 if path.endswith(".pdf") else 4
    assert [alice.get(path).status_code for _ in range(burst)] == [200] * burst
    late = alice.get(path)
    assert late.status_code == 429
    assert late.headers["Content-Type"].startswith(kind)
    assert 1 <= int(late.headers["Retry-After"]) <= 10
    assert "You ask for more reports" in late.text
    if kind == "application/json":
        assert late.json().keys() == {"code", "message", "remedy"}
        assert late.json()["code"] == "too_many_requests"
    assert bruno.get(path).status_code == 200
    if burst == 2:
        assert alice.get("api/v1/catalog").status_code == 200


def test_an_ordinary_morning_of_one_reader_is_answered(tmp_path: Path) -> None:
    told = LedgerSettings(database=f"sqlite:///{tmp_path}/ledger.sqlite")
    alice = client(build_app(told, NamedReaders(PEOPLE), tasks=False), "alice")
    assert {alice.get("api/v1/catalog").status_code for _ in range(60)} == {200}
