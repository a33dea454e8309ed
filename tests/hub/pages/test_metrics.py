from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from arcetri_hub import metrics
from arcetri_hub.auth import ANSWER_KINDS
from arcetri_hub.waitmetrics import WAIT_OUTCOMES, WaitMetrics
from arcetri_spawner import errors
from arcetri_spawner.backends import kubernetes, local
from arcetri_spawner.backends.kubernetes.kueue import faults
from arcetri_spawner.catalog import CatalogHolder
from arcetri_spawner.policy.model import FlavorInventory, Inventory
from arcetri_spawner.policy.reasons import ALL_CODES
from arcetri_spawner.waiting import Entry
from tests.support.builders import CMS, NOW, grant

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"


def platform(
    path: Path,
    running: Sequence[str] = (),
    waiting: Sequence[Entry] = (),
    *,
    stale: bool = False,
    away: bool = False,
) -> Any:
    """What the gauges read, at its outer edge; the numbers are the test's, the catalog is read."""
    catalogs = CatalogHolder(path)
    held = {uuid4(): (grant(flavor=flavor, group=CMS), None) for flavor in running}

    def inventory() -> Inventory:
        flavors = catalogs.current.catalog.flavors
        found = {f: FlavorInventory(3, 2) for f in flavors}
        return Inventory(found, datetime.now(UTC), stale=stale)

    return SimpleNamespace(
        catalogs=catalogs,
        service=SimpleNamespace(
            running=lambda: held,
            waiting=SimpleNamespace(entries=lambda: list(waiting)),
            away_of=lambda _session: "Its node gives no answer." if away else None,
        ),
        backend=SimpleNamespace(current_inventory=inventory),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "profiles.yaml"
    file.write_text(text(GRANTED))
    return file


def text(granted: str, more: str = "") -> str:
    return TEXT.replace("{GRANTED}", granted) + more


GRANTED = "{t4: {quota: 3}}"
TEXT = """
version: 1
site: {name: Lab, members: [/lab]}
defaults: {idle: 1h, lifetime: 3d, hold: 10m, grace: 5m, stop: 30s}
ids: {users: 200000-299999, groups: 300000-309999}
everyone: {flavors: [cpu]}
flavors:
  t4: {title: NVIDIA T4, resource: nvidia.com/gpu, nodes: {nvidia.com/gpu.product: Tesla-T4}}
  cpu: {title: No accelerator}
sizes:
  small: {cpu: 1, memory: 1Gi}
environments:
  python: {title: Python, local: default}
groups:
  /lab/cms: {flavors: {GRANTED}}
"""


def save(path: Path, content: str) -> None:
    """Replace a file, as an editor does."""
    fresh = path.with_suffix(".new")
    fresh.write_text(content)
    fresh.replace(path)


@asynccontextmanager
async def watched(shown: Any) -> AsyncIterator[CollectorRegistry]:
    registry = CollectorRegistry()
    watching = asyncio.create_task(metrics.Metrics(registry).watch(shown))
    await asyncio.sleep(0)
    try:
        yield registry
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


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
    # Their own errors are declared when they are imported.
    assert all((local, kubernetes, faults))
    spawner = Path(errors.__file__).parent
    parts = ("store/*.py", "backends/**/*.py", "folders/*.py")
    sources = [source for part in parts for source in spawner.glob(part)]
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


def test_every_way_to_fail_is_declared_by_its_error_and_has_its_label() -> None:
    registry = CollectorRegistry()
    metrics.Metrics(registry)
    assert failing_codes() - set(ALL_CODES) <= set(errors.failure_codes())
    assert "volume_removed" in failing_codes()
    assert {
        f'arcetri_session_start_fail_total{{code="{code}"}}' for code in errors.failure_codes()
    } <= series(registry)


@pytest.mark.parametrize(
    ("outcome", "code", "counted"),
    [
        ("queued", "", 'arcetri_request_decide_total{outcome="queued"}'),
        ("started", "", 'arcetri_request_decide_total{outcome="started"}'),
        ("denied", "session_limit", 'arcetri_request_refuse_total{code="session_limit"}'),
        ("busy", "busy_capacity", 'arcetri_request_refuse_total{code="busy_capacity"}'),
        ("denied", "never heard of", 'arcetri_request_refuse_total{code="other"}'),
        ("cancelled", "", 'arcetri_request_decide_total{outcome="cancelled"}'),
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


async def test_gauges_follow_the_catalog_and_vanish_with_a_flavour(path: Path) -> None:
    shown = platform(path, running=["t4", "t4"])
    async with watched(shown) as registry:
        text_of = generate_latest(registry).decode()
        assert 'arcetri_running_sessions{flavor="t4"} 2.0' in text_of
        assert 'arcetri_running_sessions{flavor="cpu"} 0.0' in text_of
        # Two are free, and the quota leaves one.
        assert 'arcetri_startable_sessions{flavor="t4"} 1.0' in text_of
        assert 'arcetri_startable_sessions{flavor="cpu"} 2.0' in text_of
        assert 'arcetri_capacity_sessions{flavor="t4"} 3.0' in text_of
        save(path, text("{}").replace("  t4:", "  t5:"))
        assert shown.catalogs.reload().changed
        assert 'flavor="t4"' not in generate_latest(registry).decode()
    assert "arcetri_running_sessions" not in generate_latest(registry).decode()


async def test_who_waits_is_shown_by_group_and_flavour_and_how_long_it_took(path: Path) -> None:
    t4 = {"group": CMS, "flavor": "t4"}
    waiting = [
        Entry(grant(**t4), NOW, stage="waiting"),
        Entry(grant(**t4), NOW, stage="waiting"),
        Entry(grant(**t4), NOW, stage="admitted"),
        Entry(grant(**t4), NOW, stage="admitted", starting=True),
        Entry(grant(group=CMS, flavor="gone"), NOW, stage="waiting"),
    ]
    registry = CollectorRegistry()
    measured = metrics.Metrics(registry)
    watching = asyncio.create_task(measured.watch(platform(path, waiting=waiting)))
    await asyncio.sleep(0)
    label = f'{{flavor="t4",group="{CMS}"}}'
    shown = generate_latest(registry).decode()
    assert f"arcetri_request_wait_seconds_count{label} 0.0" in shown

    measured.request_admitted(grant(**t4), timedelta(minutes=3))
    measured.request_admitted(grant(**t4), timedelta(seconds=-1))

    shown = generate_latest(registry).decode()
    assert f"arcetri_waiting_requests{label} 2.0" in shown
    assert f"arcetri_admitted_requests{label} 1.0" in shown
    assert 'arcetri_waiting_requests{flavor="cpu",group="everyone"} 0.0' in shown
    assert f'arcetri_waiting_requests{{flavor="gone",group="{CMS}"}} 1.0' in shown
    assert f"arcetri_request_wait_seconds_sum{label} 180.0" in shown
    assert f'arcetri_request_wait_seconds_bucket{{flavor="t4",group="{CMS}",le="1.0"}} 1.0' in shown
    watching.cancel()


async def test_each_saved_catalog_is_counted_and_a_bad_one_seen_while_it_is(path: Path) -> None:
    good = text(GRANTED)
    shown = platform(path)
    async with watched(shown) as registry:

        def counted() -> tuple[float | None, ...]:
            name = "arcetri_catalog_reload_total"
            return (
                registry.get_sample_value(name, {"status": "success"}),
                registry.get_sample_value(name, {"status": "failure"}),
                registry.get_sample_value("arcetri_catalog_refused"),
            )

        assert counted() == (0, 0, 0)
        save(path, "version: 2")
        shown.catalogs.reload()
        assert counted() == (0, 1, 1)
        # The same mistake saved again, then a look at what nobody changed.
        save(path, "version: 2")
        shown.catalogs.reload()
        shown.catalogs.reload()
        assert counted() == (0, 2, 1)
        # Mended to what it was before.
        save(path, good)
        shown.catalogs.reload()
        assert counted() == (1, 2, 0)
    save(path, "version: 2")
    shown.catalogs.reload()
    async with watched(shown) as registry:
        assert registry.get_sample_value("arcetri_catalog_refused") == 1


def test_what_gives_no_answer_is_shown(path: Path) -> None:
    for silent in (False, True):
        registry = CollectorRegistry()
        of = platform(path, ["t4", "t4"], stale=silent, away=silent)
        registry.register(metrics.PlatformCollector(of))
        assert registry.get_sample_value("arcetri_inventory_stale") == int(silent)
        assert registry.get_sample_value("arcetri_away_sessions") == 2 * int(silent)


def test_the_page_and_the_code_name_the_same_metrics(path: Path) -> None:
    registry = CollectorRegistry()
    metrics.Metrics(registry).request_admitted(grant(), timedelta(0))
    registry.register(metrics.PlatformCollector(platform(path)))
    WaitMetrics(lambda: 0, registry)
    rows = re.findall(
        r"^\| `(\w+)` \| (\w+) \| `?(\w+)`?(?:, `\w+`)? \|", PAGE.read_text(), re.MULTILINE
    )
    others = ("arcetri_agent_", "arcetri_ledger_", "arcetri_prepull_")  # which are served elsewhere
    documented = {row for row in rows if not row[0].startswith(others)}
    exported = {
        (
            f"{family.name}_total" if family.type == "counter" else family.name,
            family.type,
            next(iter(family.samples[0].labels), "none"),
        )
        for family in registry.collect()
    }
    assert documented == exported


def test_the_page_names_every_value_that_is_no_code() -> None:
    page = PAGE.read_text()
    for value in (*metrics.OUTCOMES, *metrics.RELOADS, *metrics.IAM_ANSWERS, *WAIT_OUTCOMES):
        assert f"`{value}`" in page
