from __future__ import annotations

import ast
import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from arcetri_hub import metrics
from arcetri_hub.auth import ANSWER_KINDS
from arcetri_spawner import errors
from arcetri_spawner.policy.model import FlavorInventory, Inventory
from arcetri_spawner.policy.reasons import ALL_CODES

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"


def platform(flavors: list[str], running: list[str] = [], free: int = 2) -> Any:  # noqa: B006
    """What the gauges read, at its outer edge; the numbers are the test's."""
    inventory = Inventory({f: FlavorInventory(3, free) for f in flavors}, datetime.now(UTC))
    held = {uuid4(): (SimpleNamespace(flavor=flavor), None) for flavor in running}
    return SimpleNamespace(
        catalogs=SimpleNamespace(
            current=SimpleNamespace(
                catalog=SimpleNamespace(flavors=dict.fromkeys(flavors)), digest="a"
            ),
            findings=(),
        ),
        service=SimpleNamespace(running=lambda: held),
        backend=SimpleNamespace(current_inventory=lambda: inventory),
    )


def series(registry: CollectorRegistry) -> set[str]:
    text = generate_latest(registry).decode()
    return {line.split(" ")[0] for line in text.splitlines() if not line.startswith("#")}


def test_every_label_value_is_there_before_anything_happened() -> None:
    registry = CollectorRegistry()
    metrics.Metrics(registry)
    shown = series(registry)
    for code in ALL_CODES:
        assert f'arcetri_request_refuse_total{{code="{code}"}}' in shown
    for kind in ANSWER_KINDS:
        assert f'arcetri_iam_answer_total{{kind="{kind}"}}' in shown
    for status in ("success", "failure"):
        assert f'arcetri_catalog_reload_total{{status="{status}"}}' in shown


def failing_codes() -> set[str]:
    """Every constant code in the sources of what can fail a granted start."""
    spawner = Path(errors.__file__).parent
    sources = [*spawner.glob("store/*.py"), *spawner.glob("backends/**/*.py")]
    found: set[str] = set()
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "code":
                value: ast.expr | None = node.value
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "default_code":
                value = node.value
            else:
                continue
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found.add(value.value)
    return found


def test_every_way_to_fail_has_its_label() -> None:
    assert failing_codes() - set(ALL_CODES) <= set(metrics.FAILURE_CODES)
    assert "volume_unsafe" in failing_codes()


@pytest.mark.parametrize(
    ("outcome", "code", "counted"),
    [
        ("started", "", 'arcetri_request_decide_total{outcome="started"}'),
        ("denied", "session_limit", 'arcetri_request_refuse_total{code="session_limit"}'),
        ("busy", "busy_capacity", 'arcetri_request_refuse_total{code="busy_capacity"}'),
        ("denied", "never heard of", 'arcetri_request_refuse_total{code="other"}'),
        ("failed", "storage_full", 'arcetri_session_start_fail_total{code="storage_full"}'),
        ("failed", "never heard of", 'arcetri_session_start_fail_total{code="other"}'),
    ],
)
def test_a_request_is_counted_by_what_became_of_it(outcome: str, code: str, counted: str) -> None:
    registry = CollectorRegistry()
    measured = metrics.Metrics(registry)
    before = series(registry)
    measured.request_decided(outcome, code)
    assert f"{counted} 1.0" in generate_latest(registry).decode()
    assert {s for s in series(registry) if "_created" not in s} == {
        s for s in before if "_created" not in s
    }


async def test_gauges_follow_the_catalog_and_vanish_with_a_flavour() -> None:
    registry = CollectorRegistry()
    measured = metrics.Metrics(registry)
    shown = platform(["t4", "cpu"], running=["t4", "t4"])
    watching = asyncio.create_task(measured.watch(shown))
    await asyncio.sleep(0)
    text = generate_latest(registry).decode()
    assert 'arcetri_running_sessions{flavor="t4"} 2.0' in text
    assert 'arcetri_running_sessions{flavor="cpu"} 0.0' in text
    assert 'arcetri_startable_sessions{flavor="t4"} 2.0' in text
    assert 'arcetri_capacity_sessions{flavor="t4"} 3.0' in text
    shown.catalogs.current = SimpleNamespace(
        catalog=SimpleNamespace(flavors={"cpu": None}), digest="b"
    )
    assert 'flavor="t4"' not in generate_latest(registry).decode()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert "arcetri_running_sessions" not in generate_latest(registry).decode()


async def test_catalog_reloads_are_counted_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_LOOK_SECONDS", 0)
    registry = CollectorRegistry()
    measured = metrics.Metrics(registry)
    shown = platform(["t4"])
    watching = asyncio.create_task(measured.watch(shown))

    async def rounds() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    await rounds()
    shown.catalogs.findings = ("broken",)
    await rounds()
    shown.catalogs.current = SimpleNamespace(
        catalog=shown.catalogs.current.catalog, digest="mended"
    )
    shown.catalogs.findings = ()
    await rounds()
    text = generate_latest(registry).decode()
    assert 'arcetri_catalog_reload_total{status="failure"} 1.0' in text
    assert 'arcetri_catalog_reload_total{status="success"} 1.0' in text
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


def test_the_page_and_the_code_name_the_same_metrics() -> None:
    registry = CollectorRegistry()
    metrics.Metrics(registry)
    registry.register(metrics.FlavorCollector(platform(["t4"])))
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)
    documented = {(name, kind, label) for name, kind, label in rows}
    exported = {
        (
            f"{family.name}_total" if family.type == "counter" else family.name,
            family.type,
            next(iter(family.samples[0].labels)),
        )
        for family in registry.collect()
    }
    assert documented == exported


def test_the_page_names_every_value_that_is_no_code() -> None:
    page = PAGE.read_text()
    for value in (*metrics.OUTCOMES, *metrics.RELOADS, *metrics.IAM_ANSWERS):
        assert f"`{value}`" in page
