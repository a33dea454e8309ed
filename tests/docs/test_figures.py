"""The results page says of each figure whether it is what is wanted, by its numbers."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "docs" / "_ext"))

Render = Callable[..., dict[str, list[str]]]
RATIO = {"ratio": 0.04, "low": 0.03, "high": 0.06, "pairs": 9, "ours": 4.0, "reference": 100.0}


@pytest.fixture
def render(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Render:
    """The cells of each row after the first, by what the row is."""
    import figures

    def made(results: dict[str, Any], parts: Any = None) -> dict[str, list[str]]:
        stamp = {"measured": "2026-01-02", "machine": "a machine"}
        path = tmp_path / "figures.json"
        path.write_text(json.dumps({name: {**stamp, **one} for name, one in results.items()}))
        monkeypatch.setattr(figures, "RESULTS", path)
        if parts is not None:
            monkeypatch.setattr(figures, "PARTS", parts)
        text = figures.figures_markdown([])
        rows = [row.strip("| ").split(" | ") for row in text.splitlines() if row.startswith("| ")]
        return {row[0]: [cell.strip(" |") for cell in row[1:]] for row in rows[2:]}

    return made


@pytest.mark.parametrize(
    ("result", "verdict"),
    [({**RATIO, "ratio": 0.04}, "met"), ({**RATIO, "ratio": 0.051}, "**missed**")],
)
def test_a_ratio_is_held_to_its_bound(
    render: Render, result: dict[str, float], verdict: str
) -> None:
    row = render({"agent": {"no delay": {"cpu": result}}})[
        "Processor time a cycle, against nvitop-exporter's"
    ]

    assert row[1] == "≤ 0.05"
    assert row[2].startswith(verdict)


@pytest.mark.parametrize(("high", "verdict"), [(1.1, "met"), (1.11, "**missed**")])
def test_where_the_upper_end_counts_it_does(render: Render, high: float, verdict: str) -> None:
    result = {**RATIO, "ratio": 1.0, "high": high}
    row = render({"start": {"seconds_to_ready": result}})["Time from asking to ready"]

    assert row[1:] == ["upper end ≤ 1.1", verdict]


@pytest.mark.parametrize(("slowest", "verdict"), [(19.9, "met"), (20.1, "**missed**")])
def test_a_bound_can_be_another_figure(render: Render, slowest: float, verdict: str) -> None:
    row = render(
        {
            "ledger": {
                "backlog": {
                    "report_while_draining_ms": {"slowest": slowest},
                    "report_at_rest_ms": {"slowest": 10},
                }
            }
        }
    )["The slowest report meanwhile"]

    assert row[1] == "≤ 2 times that at rest"
    assert row[2].startswith(verdict)


def test_a_miss_says_why_and_only_a_miss_does(render: Render) -> None:
    from figures import Line, _exactly, _least

    lines = [
        Line("few", "few", _least(3), because="there were not more"),
        Line("many", "many", _least(3), because="there were not more"),
        Line("wrong", "wrong", _exactly(False), because="nobody looked"),
        Line("free", "free"),
        Line("gone", "gone", _least(3)),
    ]
    rows = render(
        {"part": {"few": 2, "many": 3, "wrong": True, "free": 1}}, {"part": ("A part", lines)}
    )

    assert {name: row[-1] for name, row in rows.items() if name != "free"} == {
        "few": "**missed**: there were not more",
        "many": "met",
        "wrong": "**missed**: nobody looked",
        "gone": "≥ 3",
    }
    assert rows["gone"][0] == "not measured"
    assert rows["wrong"][:2] == ["yes", "no"]


def test_what_was_measured_beside_ours_is_named(render: Render) -> None:
    import figures

    render({"agent": {"beside": {"nvitop-exporter": "1.7.2"}}})

    assert "beside it nvitop-exporter 1.7.2." in figures.figures_markdown([])


def test_the_exporter_that_is_installed_is_locked() -> None:
    locked = (ROOT / "requirements" / "bench.txt").read_text(encoding="utf-8")
    names = re.findall(r"^([\w.-]+)==\S+", locked, re.MULTILINE)

    assert "nvitop-exporter" in names
    for block in re.split(r"^(?=\S)", locked, flags=re.MULTILINE):
        assert not block.strip() or "--hash=sha256:" in block, block
    assert "://" not in locked


def test_every_package_is_listed_or_the_page_is_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import figures

    path = tmp_path / "figures.json"
    monkeypatch.setattr(figures, "RESULTS", path)
    found = {"measured": "2026-01-02", "machine": "a machine", "packages": 2}

    def page(sizes: dict[str, float]) -> tuple[str, list[str]]:
        path.write_text(json.dumps({"install": {**found, "packages_mb": sizes}}))
        missing: list[str] = []
        return figures.figures_markdown(missing), missing

    whole, nothing = page({"one": 1.25, "two": 0.5})
    assert "| one | 1.25 |" in whole
    assert nothing == []
    _part, missing = page({"one": 1.25})
    assert "make bench ARGS=install" in missing[0]
