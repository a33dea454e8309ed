"""How good estimates of waits are, over all regimes; and how long one line takes."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from benchmarks.waits.regimes import REGIMES
from benchmarks.waits.replay import Look, Score, replay, score
from benchmarks.waits.traces import generate

SEEDS = (1, 2, 3)
WEEKS = 6
EVERY = 40


def run() -> dict[str, Any]:
    """Replay three traces of each regime, and judge."""
    regimes: dict[str, Any] = {}
    everything: list[Look] = []
    for regime in REGIMES:
        looks = [
            look
            for seed in SEEDS
            for look in replay(
                generate(regime, seed, WEEKS), every=EVERY, regime=regime, weeks=WEEKS
            )
        ]
        everything += looks
        regimes[regime.name] = {"what": regime.what} | _figures(score(looks))
    return {
        "traces": len(SEEDS) * len(REGIMES),
        "weeks": WEEKS,
        **_figures(score(everything)),
        "ms_a_line": _milliseconds(),
        "regimes": regimes,
    }


def _figures(of: Score) -> dict[str, Any]:
    return {
        "looks": of.looks,
        "abstained": of.abstained,
        "inside": of.inside,
        "error_hours": of.error,
        "naive_hours": of.naive,
        "less_waited_hours": of.less_waited,
        "oracle_hours": of.oracle,
        "best_hours": of.best,
        "range_hours": of.width,
        "closed": of.closed,
        "closed_at_best": of.closed_at_best,
        "closed_of_less_waited": of.closed_of_less_waited,
        "closed_at_best_of_less_waited": of.closed_at_best_of_less_waited,
    }


def _milliseconds() -> float:
    """The median processor time to estimate a whole line, of eight to twelve places."""
    spent: list[float] = []
    for regime in REGIMES:
        looks = replay(generate(regime, SEEDS[0], 2), every=60, spent=spent)
        for _ in looks:
            pass
    return median(spent) * 1000


if __name__ == "__main__":
    begun = time.monotonic()
    for name, figures in run()["regimes"].items():
        print(name, figures)  # noqa: T201 - a benchmark's output
    print(f"{time.monotonic() - begun:.0f} s")  # noqa: T201 - as above
