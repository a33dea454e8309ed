"""What was said of waits, against what they became."""

from __future__ import annotations

from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry

from arcetri_hub.waitmetrics import WAIT_OUTCOMES, WaitMetrics
from arcetri_spawner.estimates import ExpectedWait

SAID = ExpectedWait(
    timedelta(minutes=10), timedelta(minutes=30), timedelta(minutes=90), 0.8, sessions=50
)


@pytest.mark.parametrize(
    ("minutes", "said", "outcome"),
    [(9, SAID, "sooner"), (10, SAID, "inside"), (90, SAID, "inside"), (91, SAID, "later"),
     (5, None, "none")],
)  # fmt: skip
def test_a_wait_is_counted_by_where_it_lay(
    minutes: int, said: ExpectedWait | None, outcome: str
) -> None:
    registry = CollectorRegistry()
    WaitMetrics(lambda: 0, registry).wait_over("t4", minutes * 60, said)
    counted = {
        one: registry.get_sample_value("arcetri_wait_estimate_total", {"outcome": one})
        for one in WAIT_OUTCOMES
    }
    assert counted == {one: float(one == outcome) for one in WAIT_OUTCOMES}
    ratios = registry.get_sample_value("arcetri_wait_estimate_ratio_count")
    assert ratios == float(said is not None)


def test_the_ratio_is_of_what_was_waited_to_what_was_likely() -> None:
    registry = CollectorRegistry()
    metrics = WaitMetrics(lambda: 0, registry)
    metrics.wait_over("t4", 45 * 60, SAID)
    assert registry.get_sample_value("arcetri_wait_estimate_ratio_sum") == 1.5
    # Seconds instead of nothing are no error.
    metrics.wait_over("t4", 5, ExpectedWait(*[timedelta()] * 3, 0.8, sessions=50))
    assert registry.get_sample_value("arcetri_wait_estimate_ratio_sum") == 2.5


def test_when_the_ledger_last_said_something_is_shown() -> None:
    registry = CollectorRegistry()
    heard = [0.0]
    WaitMetrics(lambda: heard[0], registry)
    name = "arcetri_wait_history_timestamp_seconds"
    assert registry.get_sample_value(name) == 0
    heard[0] = 1_775_000_000.5
    assert registry.get_sample_value(name) == 1_775_000_000.5
