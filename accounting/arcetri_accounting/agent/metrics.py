"""The agent's figures for Prometheus; documented in ``docs/reference/metrics.md``.

Imported only where metrics are asked for: an agent without them does not load the client.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from arcetri_accounting.agent.figures import Figures

_COUNTERS = {
    "cycle": ("cycles", "Cycles of sampling."),
    "cycle_miss": ("cycles_missed", "Cycles that were left out because one took too long."),
    "segment_cut": ("segments", "Segments that were cut."),
    "presence_cut": ("presences", "Presence records that were cut."),
    "record_acknowledge": ("acknowledged", "Records that the ledger has acknowledged."),
    "record_quarantine": ("quarantined", "Records that the ledger has set aside."),
    "spool_fail": ("spool_errors", "Times the spool could not be written."),
    "source_fail": ("source_errors", "Times the source could not be read, or its record written."),
    "kubelet_fail": ("kubelet_errors", "Times the kubelet did not say who holds what."),
    "pods_fail": ("watch_errors", "Times the API server's pods could not be followed."),
    "nvml_fail": ("nvml_errors", "Errors of NVML that mean no lack of a feature."),
}
_GAUGES = {
    "cycle_seconds": ("cycle_ms", 1000, "What the last cycle took."),
    "spool_depth": ("depth", 1, "Records that wait in the spool."),
    "unwritten_depth": ("unwritten", 1, "Records in memory: the spool cannot be written."),
    "open_allocations": ("holdings", 1, "Allocations that run."),
    "kubelet_up": ("kubelet_up", 1, "1 where the kubelet says who holds what."),
    "pods_up": ("pods_up", 1, "1 where the API server's pods are followed."),
    "nvml_up": ("nvml", 1, "1 where NVML answers."),
    "last_delivery_timestamp_seconds": (
        "last_delivery",
        1000,
        "When the ledger last accepted a batch; 0 where it has not yet.",
    ),
}


class FiguresCollector(Collector):
    """Reads the figures at each scrape."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """Every metric, also those at zero."""
        figures = self._figures
        for name, (attribute, meaning) in _COUNTERS.items():
            yield CounterMetricFamily(
                f"arcetri_agent_{name}", meaning, value=getattr(figures, attribute)
            )
        for name, (attribute, divisor, meaning) in _GAUGES.items():
            yield GaugeMetricFamily(
                f"arcetri_agent_{name}", meaning, value=getattr(figures, attribute) / divisor
            )
        devices = GaugeMetricFamily(
            "arcetri_agent_devices", "Devices that NVML knows.", labels=["state"]
        )
        devices.add_metric(["up"], figures.devices_up)
        devices.add_metric(["down"], figures.devices_down)
        devices.add_metric(["silent"], figures.devices_silent)
        yield devices
        gaps = CounterMetricFamily("arcetri_agent_gap", "Gaps that were noted.", labels=["code"])
        for code, count in figures.gaps.items():
            gaps.add_metric([code], count)
        yield gaps
        deliveries = CounterMetricFamily(
            "arcetri_agent_delivery", "Batches sent.", labels=["outcome"]
        )
        for outcome, count in figures.deliveries.items():
            deliveries.add_metric([outcome], count)
        yield deliveries


def serve(figures: Figures, port: int, host: str = "127.0.0.1") -> int:
    """Serve the figures at an address of this machine; returns the port.

    Raises:
        OSError: The port is taken.
    """
    registry = CollectorRegistry()
    registry.register(FiguresCollector(figures))
    server, _thread = start_http_server(port, addr=host, registry=registry)
    return int(server.server_port)
