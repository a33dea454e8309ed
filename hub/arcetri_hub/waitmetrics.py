"""How good estimates of waits are, for Prometheus: what was said against what it became."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from arcetri_spawner.estimates import ExpectedWait

WAIT_OUTCOMES: Final = ("inside", "sooner", "later", "none")
_RATIOS: Final = (0.1, 0.25, 0.5, 0.75, 1.0, 1.33, 2.0, 4.0, 10.0)
_LEAST: Final = 60.0
"""Seconds that count as no less: ten seconds instead of twenty are no error to speak of."""


class WaitMetrics:
    """The counters.

    Args:
        heard: When the ledger's last answer came, in seconds since 1970; 0 before it did.
        registry: Where they appear; the default one is what ``/hub/metrics`` shows.
    """

    def __init__(self, heard: Callable[[], float], registry: CollectorRegistry = REGISTRY) -> None:
        self._outcomes = Counter(
            "arcetri_wait_estimate_total",
            "Waits that ended in a session, by where they lay in the range that was said at first",
            ["outcome"],
            registry=registry,
        )
        for outcome in WAIT_OUTCOMES:
            self._outcomes.labels(outcome)
        self._ratio = Histogram(
            "arcetri_wait_estimate_ratio",
            "Waits over what was called likely at first, each taken as a minute at least",
            buckets=_RATIOS,
            registry=registry,
        )
        Gauge(
            "arcetri_wait_history_timestamp_seconds",
            "When the ledger last said how long sessions lasted; 0 where it has not yet",
            registry=registry,
        ).set_function(heard)

    def wait_over(self, flavor: str, waited: float, said: ExpectedWait | None) -> None:
        """Count a wait that ended in a session; the expectations' observer."""
        del flavor
        if said is None:
            self._outcomes.labels("none").inc()
            return
        low, high = said.low.total_seconds(), said.high.total_seconds()
        outcome = "sooner" if waited < low else "later" if waited > high else "inside"
        self._outcomes.labels(outcome).inc()
        likely = said.likely.total_seconds()
        self._ratio.observe(max(waited, _LEAST) / max(likely, _LEAST))
