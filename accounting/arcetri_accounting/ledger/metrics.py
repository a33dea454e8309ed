"""What the ledger tells Prometheus: of itself, and, at each look, of its database."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.errors import DatabaseError
from arcetri_accounting.ledger.ingest import Stored
from arcetri_accounting.ledger.tables import (
    CorrectionRow,
    DiscrepancyRow,
    GapRow,
    NodeState,
    OpenRow,
    QuarantineRow,
    ReconciledRow,
    WitnessRow,
)
from arcetri_accounting.ledger.times import now_ms


class Metrics:
    """The metrics of one ledger."""

    def __init__(self, database: Database) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_State(database))
        self.records = Counter(
            "arcetri_ledger_records",
            "Records received, by what became of them.",
            ["outcome"],
            registry=self.registry,
        )
        self.requests = Counter(
            "arcetri_ledger_requests",
            "Requests of writers, by path and what became of them.",
            ["path", "outcome"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "arcetri_ledger_write_seconds",
            "How long storing a delivery took, from its body to the commit.",
            ["path"],
            registry=self.registry,
            buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
        )
        self.withdrawn = Counter(
            "arcetri_ledger_reconciled_changes",
            "Spans closed from the witness, or taken back because an agent's record came.",
            registry=self.registry,
        )
        self.failures = Counter(
            "arcetri_ledger_background_failures",
            "Runs of a background task that failed.",
            ["task"],
            registry=self.registry,
        )
        self.last_run = Gauge(
            "arcetri_ledger_background_last_success_timestamp_seconds",
            "When a background task last ended well.",
            ["task"],
            registry=self.registry,
        )

    def stored(self, what: Stored) -> None:
        """Count a delivery that was stored."""
        answer = what.acknowledgement
        self.records.labels("stored").inc(answer.stored)
        self.records.labels("duplicate").inc(answer.duplicates)
        self.records.labels("quarantined").inc(len(what.refusals))
        self.withdrawn.inc(what.reconciled)


class _State(Collector):
    """What the database says, when it is asked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> list[Metric]:
        """Name nothing in advance: a look at the database is not needed to start."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Look."""
        up = GaugeMetricFamily("arcetri_ledger_database_up", "1 where the database answers.")
        try:
            found = self._database.read(_look)
        except DatabaseError:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield from found


_COUNTS = {
    "arcetri_ledger_gaps": ("Stretches that agents say they do not know about.", GapRow),
    "arcetri_ledger_quarantine": ("Records that were set aside.", QuarantineRow),
    "arcetri_ledger_reconciled": ("Spans that are closed from the witness.", ReconciledRow),
    "arcetri_ledger_discrepancies": ("Sessions' disagreements shown.", DiscrepancyRow),
    "arcetri_ledger_corrections": ("Corrections made.", CorrectionRow),
    "arcetri_ledger_running_allocations": ("Allocations that run.", OpenRow),
}


def _look(session: Session) -> list[Metric]:
    now = now_ms()
    found: list[Metric] = []
    for name, (what, row) in _COUNTS.items():
        count = session.scalar(select(func.count()).select_from(row)) or 0
        found.append(GaugeMetricFamily(name, what, value=count))
    waiting = select(func.count()).where(
        WitnessRow.reconciled_at.is_(None), WitnessRow.ended_at.is_not(None)
    )
    found.append(
        GaugeMetricFamily(
            "arcetri_ledger_unreconciled_sessions",
            "Ended sessions that were not yet compared with their agent's count.",
            value=session.scalar(waiting) or 0,
        )
    )
    lag = GaugeMetricFamily(
        "arcetri_ledger_node_lag_seconds", "Since a node was last heard of.", labels=["node"]
    )
    pending = GaugeMetricFamily(
        "arcetri_ledger_node_pending_records",
        "Records that a node's agent still keeps in its spool.",
        labels=["node"],
    )
    skew = GaugeMetricFamily(
        "arcetri_ledger_node_clock_skew_seconds",
        "How far a node's clock is behind the ledger's, or its delivery was on the way.",
        labels=["node"],
    )
    for node in session.scalars(select(NodeState).order_by(NodeState.node)):
        lag.add_metric([node.node], max(0, now - node.received_at) / 1000)
        pending.add_metric([node.node], node.pending)
        skew.add_metric([node.node], (node.received_at - node.sent_at) / 1000)
    return [*found, lag, pending, skew]
