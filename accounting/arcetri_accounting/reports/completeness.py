"""How complete a report's data is, and the sentences that say so. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from arcetri_accounting.contract.units import hours
from arcetri_accounting.reports.numbers import Amounts
from arcetri_accounting.reports.periods import Period, local_day

_SILENT_SAMPLES = 6
"""A node is late when it has been silent for so many of its sampling intervals."""
_SILENT_AT_LEAST_MS = 60_000
_GIVEN_UP_MS = 7 * 86_400_000
"""A node that has been silent for so long is not waited for: what ran on it since is known from the
witness, and is in the numbers once it is compared."""


@dataclass(frozen=True, slots=True)
class Node:
    """What is known of a node's agent."""

    name: str
    received_at: int
    """When its last delivery came, in milliseconds since 1970."""
    interval_ms: int
    pending: int
    """Records that it still kept after its last delivery."""
    witnessed: bool = False
    """The witness says that a session ran on it in the period."""

    def silent_ms(self, now: int) -> int:
        """For how long nothing has come; 0 while it keeps its interval."""
        silent = now - self.received_at
        patience = max(_SILENT_SAMPLES * self.interval_ms, _SILENT_AT_LEAST_MS)
        return silent if silent > patience else 0


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch within the period that an agent says it does not know."""

    node: str
    code: str
    t0: int
    t1: int


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger knows about the quality of a period's data, whoever's usage it is."""

    nodes: tuple[Node, ...] = ()
    gaps: tuple[Gap, ...] = ()
    quarantined: int = 0
    """Records received in the period that were set aside."""
    discrepancies: int = 0
    """Sessions of the period about which agent and witness disagree."""
    awaiting: int = 0
    """Ended sessions of the period that are not yet compared with the witness."""
    untold: tuple[tuple[str, int], ...] = ()
    """Nodes, and how many sessions run there by the witness's word of which no agent has told up
    to the period's end, or to now."""


@dataclass(frozen=True, slots=True)
class Completeness:
    """How far the numbers of a report can be trusted to stay."""

    over: bool
    """The period has ended."""
    known: Known
    late: tuple[Node, ...]
    """Nodes that are silent or behind, and were to report in the period."""
    now: int
    amounts: Amounts
    sessions_kept_from: date | None = None
    """The day before which single sessions are no longer kept; None where all of them are."""

    @property
    def final(self) -> bool:
        """Nothing is known to be still missing, and the period has ended."""
        return (
            self.over
            and not any(self._awaited(node) for node in self.late)
            and not self.known.awaiting
            and not self.known.untold
            and not self.amounts.running.alloc_u
        )

    def _awaited(self, node: Node) -> bool:
        return bool(node.pending) or node.received_at > self.now - _GIVEN_UP_MS

    @property
    def whole(self) -> bool:
        """Final, and nothing in it was lost, reconciled, set aside or contradicted."""
        known = self.known
        spoiled = known.gaps or known.quarantined or known.discrepancies or self.late
        return self.final and not spoiled and not self.amounts.reconciled_u


def judge(
    known: Known, period: Period, amounts: Amounts, now: int, kept_from: date | None = None
) -> Completeness:
    """Say how complete a period's numbers are at ``now``."""
    late = tuple(
        node
        for node in known.nodes
        if (node.silent_ms(now) or node.pending)
        # One that had long been silent, and held nothing by the witness's word, was retired.
        and (node.witnessed or period.start_ms - _GIVEN_UP_MS <= node.received_at)
        # What a node sent after the period's end, with nothing left to send, covers the period.
        and (node.received_at < period.end_ms or node.pending)
    )
    return Completeness(period.end_ms <= now, known, late, now, amounts, kept_from)


def share_of(part: int, whole: int) -> str:
    """A part as a percentage, never rounded to none or to all."""
    if not whole or not part:
        return "0 %"
    percent = 100 * part / whole
    if percent < 1:
        return "under 1 %"
    if percent > 99 and part < whole:
        return "over 99 %"
    return f"{percent:.0f} %"


def sentences(found: Completeness, period: Period, moment: Callable[[int], str]) -> list[str]:
    """What a reader must know about the numbers; empty where there is nothing to say.

    Args:
        found: The judgement.
        period: What the report covers.
        moment: Writes a moment, given in milliseconds since 1970, in the site's zone.
    """
    said: list[str] = []
    today = local_day(found.now, period.zone)
    if period.start_ms > found.now:
        return ["This period has not begun."]
    if not found.over:
        said.append(f"The period is not over: it ends on {period.last}, today is {today}.")
    running = found.amounts.running.alloc_u
    if running:
        said.append(
            f"Sessions still run: {hours(running):.2f} GPU-hours more are provisional"
            " and in no total yet."
        )
    for node in found.late:
        waits = f", with {node.pending} records still to send" if node.pending else ""
        said.append(f"Node {node.name} was last heard from at {moment(node.received_at)}{waits}.")
    for name, count in found.known.untold:
        said.append(
            f"{_many(count, 'session')} on node {name} not accounted for: running by the spawner's"
            " word, and no agent has told of the whole time."
        )
    amounts = found.amounts
    reconciled = amounts.reconciled_u
    if reconciled:
        part = share_of(reconciled, amounts.gpu.alloc_u)
        said.append(
            f"{hours(reconciled):.2f} GPU-hours ({part}) were seen by no agent and are closed from"
            " the spawner's record of start and stop; their use is unobserved."
        )
    imported = amounts.gpu_by_provenance.get("imported", 0)
    if imported:
        said.append(f"{hours(imported):.2f} GPU-hours are imported from other records.")
    generated = amounts.gpu_by_provenance.get("generated", 0)
    if generated:
        said.append(f"{hours(generated):.2f} GPU-hours are generated, for demonstration.")
    if found.sessions_kept_from:
        said.append(not_listed(found.sessions_kept_from))
    said += _counted(found.known)
    return said


def not_listed(before: date) -> str:
    """Say of old usage that its totals alone are kept."""
    return f"Single sessions before {before} are no longer kept; totals are."


def _counted(known: Known) -> list[str]:
    """What is counted of the whole site, whatever a report is narrowed to."""
    said = []
    if known.gaps:
        nodes = ", ".join(sorted({gap.node for gap in known.gaps}))
        said.append(f"{_many(len(known.gaps), 'gap')} declared by the agents of {nodes}.")
    if known.awaiting:
        said.append(f"{_many(known.awaiting, 'ended session')} not yet compared with the witness.")
    if known.quarantined:
        said.append(f"{_many(known.quarantined, 'record')} set aside as unreadable or in conflict.")
    if known.discrepancies:
        said.append(f"About {_many(known.discrepancies, 'session')} agent and spawner disagree.")
    return [f"Of the whole site: {one[0].lower()}{one[1:]}" for one in said]


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
