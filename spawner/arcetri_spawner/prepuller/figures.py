"""What the prepuller says of itself to Prometheus."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Gauge

from arcetri_spawner.prepuller.plan import Steps
from arcetri_spawner.prepuller.status import STATES, OnNode


class Figures:
    """The prepuller's metrics; which node has which image, for alerts and dashboards."""

    def __init__(self, registry: CollectorRegistry, refused: Callable[[], bool]) -> None:
        """Register them.

        Args:
            registry: Where.
            refused: Says whether the catalog's file cannot be used now.
        """
        self._nodes = Gauge(
            "arcetri_prepull_nodes",
            "Nodes that should have an image, by whether it is present, pulling or failed.",
            ["image", "state"],
            registry=registry,
        )
        self._missing = Gauge(
            "arcetri_prepull_failed",
            "1 for a node that cannot pull an image, with the code of why.",
            ["image", "node", "code"],
            registry=registry,
        )
        self._taken = Gauge(
            "arcetri_prepull_names_taken",
            "Images not pulled because somebody else's DaemonSet has the name.",
            registry=registry,
        )
        self._turn = Gauge(
            "arcetri_prepull_last_turn_timestamp_seconds",
            "When the DaemonSets were last compared with the catalog.",
            registry=registry,
        )
        Gauge(
            "arcetri_prepull_catalog_refused",
            "1 while the catalog's file cannot be used and the last good one serves.",
            registry=registry,
        ).set_function(lambda: float(refused()))

    def told(self, steps: Steps, nodes: tuple[OnNode, ...]) -> None:
        """Take note of a turn."""
        counts = Tally((one.image, one.state) for one in nodes)
        self._nodes.clear()
        self._missing.clear()
        for image in {one.image for one in nodes}:
            for state in STATES:
                self._nodes.labels(image, state).set(counts[image, state])
        for one in nodes:
            if one.state == "failed":
                self._missing.labels(one.image, one.node, one.code).set(1)
        self._taken.set(len(steps.taken))
        self._turn.set_to_current_time()
