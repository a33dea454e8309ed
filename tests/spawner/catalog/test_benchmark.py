from __future__ import annotations

import pytest

from benchmarks.catalog import large_catalog
from benchmarks.stats import interleave, ratio_of_medians
from tests.support.catalogs import checked


def test_the_measured_catalog_is_good_and_as_large_as_it_says() -> None:
    loaded = checked(large_catalog(groups=120, flavors=60, granted=20))

    assert loaded.findings == ()
    assert loaded.catalog is not None
    assert len(loaded.catalog.catalog.groups) == 120
    assert len(loaded.catalog.catalog.flavors) == 60


def test_a_ratio_lies_in_its_interval() -> None:
    reference = [1.0 + number / 100 for number in range(30)]
    ratio = ratio_of_medians(
        [2 * value + 0.3 * (i % 3) for i, value in enumerate(reference)], reference
    )

    assert 1.9 < ratio.low < ratio.ratio < ratio.high < 2.6
    assert ratio.pairs == 30


def test_a_ratio_needs_pairs() -> None:
    with pytest.raises(ValueError, match="as many"):
        ratio_of_medians([1.0], [])


def test_pairs_take_turns_in_going_first() -> None:
    order: list[str] = []

    def go(name: str) -> float:
        order.append(name)
        return 1.0

    interleave(lambda: go("a"), lambda: go("b"), pairs=4, warm_up=0)
    assert "".join(order) == "baabbaab"
