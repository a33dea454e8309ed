"""What would start now whoever asks."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy import startable_by_anybody
from tests.support.builders import ASTRO, CMS, NOW, catalog, inventory, section


def startable(
    flavor: str = "t4",
    *,
    free: int = 4,
    held: dict[tuple[GroupPath, str], int] | None = None,
    **changes: Any,
) -> int:
    have = inventory({flavor: (free, 9)})
    return startable_by_anybody(catalog(**changes), have, Counter(held or {}), NOW)[flavor]


def groups(**flavors: Any) -> dict[str, Any]:
    return {f"/lab/{name}": {"flavors": {"t4": entry}} for name, entry in flavors.items()}


@pytest.mark.parametrize(
    ("granted", "free", "held", "expected"),
    [
        ({"cms": {"quota": 2}}, 4, {}, 2),
        ({"cms": {"quota": 2}}, 1, {}, 1),
        ({"cms": {"quota": 2}}, 4, {(CMS, "t4"): 1}, 1),
        ({"cms": {"quota": 2}}, 4, {(CMS, "t4"): 3}, 0),
        ({"cms": {"quota": 2}, "astro": {"quota": 1}}, 4, {(CMS, "t4"): 1}, 2),
        ({"cms": {"quota": 2}, "astro": {}}, 4, {(CMS, "t4"): 2}, 4),
        ({"cms": {"quota": 0}}, 4, {}, 0),
        ({"cms": {"limit": 1}}, 4, {(ASTRO, "t4"): 3}, 4),
    ],
)
def test_capacity_and_quotas_bound_it(granted: Any, free: int, held: Any, expected: int) -> None:
    assert startable(free=free, held=held, groups=groups(**granted)) == expected


def test_everyones_flavour_has_no_quota() -> None:
    assert startable("cpu") == 4


def test_what_nobody_is_granted_starts_for_nobody() -> None:
    assert startable(groups={"/lab/cms": {"flavors": {"rtx": {}}}}) == 0


def test_what_nothing_goes_with_or_is_maintained_does_not_start() -> None:
    tests = section("sizes", small=None)
    assert startable("a100-1g", sizes=tests) == 0
    broken = {**section("flavors")["t4"], "maintenance": {"message": "x"}}
    assert startable(flavors=section("flavors", t4=broken)) == 0
    over = {**broken, "maintenance": {"message": "x", "until": (NOW - timedelta(days=1)).date()}}
    assert startable(flavors=section("flavors", t4=over)) > 0


def test_what_is_not_known_to_be_free_does_not_start() -> None:
    have = inventory({"t4": 4})
    assert startable_by_anybody(catalog(), replace(have, stale=True), {}, NOW)["t4"] == 0
    assert startable_by_anybody(catalog(), have, {}, NOW)["rtx"] == 0


def test_what_no_installed_environment_runs_does_not_start() -> None:
    have = inventory(environments=["torch"])
    found = startable_by_anybody(catalog(), have, {}, NOW)
    assert found["cpu"] == 0
    assert found["t4"] > 0
