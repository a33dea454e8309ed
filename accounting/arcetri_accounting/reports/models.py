"""What the JSON API answers; OpenAPI is made from it. Amounts are decimals in strings, exact."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from arcetri_accounting.contract.share import SHARE_UNITS
from arcetri_accounting.contract.units import QUARTER_MS, core_hours, from_ms, hours
from arcetri_accounting.ledger.disputes import Dispute
from arcetri_accounting.ledger.tables import QuarterRow
from arcetri_accounting.reports.access import View
from arcetri_accounting.reports.completeness import Completeness
from arcetri_accounting.reports.hints import Hint, Idle
from arcetri_accounting.reports.numbers import Amounts, By
from arcetri_accounting.reports.query import Listed, Simulated
from arcetri_accounting.reports.quotas import Quota
from arcetri_accounting.reports.service import Report
from arcetri_accounting.reports.sessions import SessionLine

DecimalText = Annotated[str, Field(pattern=r"^-?[0-9]+\.[0-9]{6}$", examples=["12.500000"])]
"""A decimal number with six places, as a string so that nothing rounds it on the way."""

_SHOWN = Decimal("0.000001")
_MJ_PER_KWH = 3_600_000_000


def _text(value: Decimal) -> str:
    return f"{value:f}"


def energy_kwh(millijoules: int) -> Decimal:
    """Millijoules as kilowatt-hours with six decimals."""
    return (Decimal(millijoules) / _MJ_PER_KWH).quantize(_SHOWN, ROUND_HALF_EVEN)


def fraction(part: int, whole: int) -> Decimal | None:
    """A part of a whole with six decimals; None of nothing."""
    if not whole:
        return None
    return (Decimal(part) / Decimal(whole)).quantize(_SHOWN, ROUND_HALF_EVEN)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AmountsAnswer(_Answer):
    """GPU-, FPGA- and core-hours, each on its own; never to be added to each other."""

    allocated_gpu_hours: DecimalText = Field(description="Share times time a GPU was held.")
    used_gpu_hours: DecimalText = Field(
        description="Share times utilisation, out of measured_gpu_hours; unknown where that is 0."
    )
    measured_gpu_hours: DecimalText = Field(
        description="The part of allocated in which utilisation could be measured."
    )
    used_fraction: DecimalText | None = Field(
        description="used of measured; null where nothing could be measured."
    )
    occupied_gpu_hours: DecimalText = Field(
        description="Share times time with a compute process on the device; unknown where"
        " unobserved_gpu_hours is all of allocated_gpu_hours."
    )
    unobserved_gpu_hours: DecimalText = Field(
        description="Share times time in which nothing was observed: unknown, never idle."
    )
    reconciled_gpu_hours: DecimalText = Field(
        description="The part of allocated that no agent saw, closed from the spawner's record."
    )
    allocated_fpga_hours: DecimalText
    core_hours: DecimalText = Field(description="Granted cores times time.")
    energy_kwh: DecimalText = Field(description="As far as it was measured.")
    provisional_gpu_hours: DecimalText = Field(
        description="What runs and is not final yet; in no other number."
    )
    provisional_fpga_hours: DecimalText
    provisional_core_hours: DecimalText


def _amounts(amounts: Amounts) -> dict[str, str | None]:
    gpu = amounts.gpu
    used = fraction(gpu.used_u, gpu.util_u)
    return {
        "allocated_gpu_hours": _text(hours(gpu.alloc_u)),
        "used_gpu_hours": _text(hours(gpu.used_u)),
        "measured_gpu_hours": _text(hours(gpu.util_u)),
        "used_fraction": None if used is None else _text(used),
        "occupied_gpu_hours": _text(hours(gpu.occupied_u)),
        "unobserved_gpu_hours": _text(hours(gpu.unobserved_u)),
        "reconciled_gpu_hours": _text(hours(amounts.reconciled_u)),
        "allocated_fpga_hours": _text(hours(amounts.fpga.alloc_u)),
        "core_hours": _text(core_hours(amounts.core_ms)),
        "energy_kwh": _text(energy_kwh(amounts.energy_mj)),
        "provisional_gpu_hours": _text(hours(amounts.running.alloc_u)),
        "provisional_fpga_hours": _text(hours(amounts.running_fpga.alloc_u)),
        "provisional_core_hours": _text(core_hours(amounts.running_core_ms)),
    }


class RowAnswer(AmountsAnswer):
    """One line of a report."""

    key: str = Field(
        description="A group's path, a person's name, a flavour, 2026-11-23, or 2026-11."
    )
    label: str = Field(description="The same for people: a flavour's title.")
    account: str | None = Field(default=None, description="By user: the person's opaque id.")


class NodeAnswer(_Answer):
    """A node whose agent is silent or behind."""

    node: str
    last_heard: datetime
    pending: int = Field(description="Records that it still had to send then.")


class GapAnswer(_Answer):
    """A stretch that an agent says it does not know."""

    node: str
    code: str
    start: datetime
    end: datetime


class CompletenessAnswer(_Answer):
    """How far the numbers can be trusted to stay as they are."""

    period_over: bool
    final: bool = Field(description="The period is over and nothing is known to be missing.")
    whole: bool = Field(
        description="Final, and nothing was lost, reconciled, set aside or contradicted."
    )
    late_nodes: list[NodeAnswer]
    gaps: list[GapAnswer]
    records_set_aside: int = Field(description="Of the whole site, whatever the filters.")
    sessions_in_dispute: int = Field(
        description="Agent and spawner say different things; of the whole site."
    )
    sessions_to_compare: int = Field(
        description="Ended, not yet compared with the witness; of the whole site."
    )
    sessions_not_accounted_for: int = Field(
        description="Running by the spawner's word, and no agent has told of the whole time; of"
        " the whole site."
    )
    gpu_hours_by_provenance: dict[str, DecimalText]
    sessions_kept_from: date | None = Field(
        description="Before this day of the period, totals are kept and single sessions are not;"
        " null where all of them are."
    )
    notes: list[str] = Field(description="The same in sentences.")


class FilterAnswer(_Answer):
    """What narrows a report."""

    group: str | None = None
    below: bool = False
    user: str | None = None
    flavor: str | None = None
    kind: str | None = None
    simulated: Listed


class ReportAnswer(_Answer):
    """A report."""

    site: str
    timezone: str
    first: date = Field(
        serialization_alias="from", description="The first day, of the site's zone."
    )
    last: date = Field(serialization_alias="to", description="The last day, included.")
    by: By
    view: View
    covers: str = Field(description="Whose usage it is.")
    filter: FilterAnswer
    generated_at: datetime
    total: AmountsAnswer
    rows: list[RowAnswer]
    completeness: CompletenessAnswer


def rows_answer(report: Report) -> list[RowAnswer]:
    """A report's lines."""
    named = report.by == "user"
    return [
        RowAnswer.model_validate(
            {
                "key": row.label if named else row.key,
                "label": row.label,
                "account": report.accounts.get(row.key),
                **_amounts(row.amounts),
            }
        )
        for row in report.rows
    ]


def report_answer(report: Report) -> ReportAnswer:
    """A whole report."""
    wanted = report.wanted
    return ReportAnswer(
        site=report.context.site,
        timezone=report.context.zone.key,
        first=wanted.period.first,
        last=wanted.period.last,
        by=report.by,
        view=report.view,
        covers=report.covers,
        filter=FilterAnswer(
            group=wanted.group,
            below=wanted.below,
            user=wanted.user,
            flavor=wanted.flavor,
            kind=wanted.kind,
            simulated=wanted.simulated,
        ),
        generated_at=from_ms(report.context.now),
        total=AmountsAnswer.model_validate(_amounts(report.total)),
        rows=rows_answer(report),
        completeness=completeness_answer(report.completeness, report.notes),
    )


def completeness_answer(found: Completeness, notes: list[str]) -> CompletenessAnswer:
    """How complete a report is."""
    return CompletenessAnswer(
        period_over=found.over,
        final=found.final,
        whole=found.whole,
        late_nodes=[
            NodeAnswer(node=one.name, last_heard=from_ms(one.received_at), pending=one.pending)
            for one in found.late
        ],
        gaps=[
            GapAnswer(node=one.node, code=one.code, start=from_ms(one.t0), end=from_ms(one.t1))
            for one in found.known.gaps
        ],
        records_set_aside=found.known.quarantined,
        sessions_in_dispute=found.known.discrepancies,
        sessions_to_compare=found.known.awaiting,
        sessions_not_accounted_for=sum(count for _, count in found.known.untold),
        gpu_hours_by_provenance={
            name: _text(hours(units))
            for name, units in sorted(found.amounts.gpu_by_provenance.items())
        },
        sessions_kept_from=found.sessions_kept_from,
        notes=notes,
    )


class DeviceAnswer(_Answer):
    """A device that a session held."""

    device: str
    model: str
    generation: int
    share: str = Field(description="Of a whole device, such as 1/7.")
    shared: bool = Field(description="Time-sliced with others: nothing guarantees the share.")
    provenance: str


class SessionAnswer(AmountsAnswer):
    """One session, with what it used within the period that was asked for."""

    session: str
    site: str
    user: str
    account: str
    group: str
    flavors: list[str]
    flavor_type: str
    kind: str
    simulated: bool
    provenance: list[str]
    node: str
    started: datetime
    ended: datetime | None = Field(description="null while it runs.")
    running: bool
    devices: list[DeviceAnswer]
    peak_memory_bytes: int | None


def session_answer(line: SessionLine, *, names: bool) -> SessionAnswer:
    """One session."""
    return SessionAnswer.model_validate(
        {
            **_amounts(line.amounts),
            "session": line.session,
            "site": line.site,
            "user": line.who.label(names=names),
            "account": line.who.account,
            "group": line.group,
            "flavors": line.flavors,
            "flavor_type": line.flavor_type,
            "kind": line.kind,
            "simulated": line.simulated,
            "provenance": line.provenances,
            "node": line.parts[0].node,
            "started": from_ms(line.started),
            "ended": None if line.running else from_ms(line.until),
            "running": line.running,
            "devices": [
                DeviceAnswer(
                    device=part.device,
                    model=part.model,
                    generation=part.generation,
                    share=str(Fraction(part.share_u, SHARE_UNITS)),
                    shared=part.shared,
                    provenance=part.provenance,
                )
                for part in line.parts
                if part.device
            ],
            "peak_memory_bytes": line.mem_peak,
        }
    )


class SessionsAnswer(_Answer):
    """A page of sessions, the newest first."""

    view: View
    count: int = Field(description="Of all pages.")
    limit: int
    offset: int
    sessions_kept_from: date | None = Field(
        description="Sessions of the period before this day are no longer kept; null where all are."
    )
    sessions: list[SessionAnswer]


class QuarterAnswer(_Answer):
    """A quarter hour of a session."""

    start: datetime
    allocated_gpu_hours: DecimalText
    used_gpu_hours: DecimalText
    measured_gpu_hours: DecimalText
    occupied_gpu_hours: DecimalText
    unobserved_gpu_hours: DecimalText
    version: int = Field(description="Grows with every change, such as late data.")


class SessionDetailAnswer(_Answer):
    """A session with its quarter hours, of the whole of its life."""

    sessions: list[SessionAnswer] = Field(
        description="Nearly always one; an imported id may be several people's."
    )
    quarters: list[QuarterAnswer]
    discrepancies: list[DisputeAnswer]


class DisputeAnswer(_Answer):
    """One thing about one session that its agent and the spawner say differently."""

    session: str
    code: str = Field(
        description="start, end, device, node, account, group, flavor, share or kind."
    )
    agent_says: str
    witness_says: str = Field(description="The witness is the spawner.")


class DisputesAnswer(_Answer):
    """What is said differently of the sessions of a view, the latest found first."""

    view: View
    discrepancies: list[DisputeAnswer]


def dispute_answers(found: Iterable[Dispute]) -> list[DisputeAnswer]:
    """Each of them."""
    return [DisputeAnswer(**one._asdict()) for one in found]


def quarter_answers(rows: Iterable[QuarterRow]) -> list[QuarterAnswer]:
    """The quarter hours of a session, whatever devices it held in each."""
    sums: dict[int, list[QuarterRow]] = {}
    for row in rows:
        if row.dur_ms:
            sums.setdefault(row.quarter, []).append(row)
    return [
        QuarterAnswer(
            start=from_ms(quarter * QUARTER_MS),
            allocated_gpu_hours=_text(hours(sum(row.alloc_u for row in together))),
            used_gpu_hours=_text(hours(sum(row.used_u for row in together))),
            measured_gpu_hours=_text(hours(sum(row.util_u for row in together))),
            occupied_gpu_hours=_text(hours(sum(row.occupied_u for row in together))),
            unobserved_gpu_hours=_text(hours(sum(row.unobserved_u for row in together))),
            version=max(row.version for row in together),
        )
        for quarter, together in sorted(sums.items())
    ]


class IdleAnswer(_Answer):
    """A session that held a device without using it."""

    session: str
    user: str
    group: str
    flavor: str
    unused_hours: DecimalText = Field(description="Of the session, whatever its share.")
    unused_gpu_hours: DecimalText
    evidence: Literal["no_process", "low_utilisation"]
    allocated_gpu_hours: DecimalText
    unobserved_gpu_hours: DecimalText


class HintAnswer(_Answer):
    """Something to try, and what it rests on."""

    code: Literal["smaller_device", "no_process", "low_utilisation"]
    user: str
    group: str
    flavor: str
    sentence: str
    sessions: int
    gpu_hours: DecimalText = Field(description="Of these sessions, in the period.")
    peak_memory_bytes: int | None
    suggested_flavor: str | None


class HintsAnswer(_Answer):
    """What a period's sessions teach."""

    view: View
    idle: list[IdleAnswer]
    hints: list[HintAnswer]


def idle_answer(one: Idle) -> IdleAnswer:
    """One session that lay idle."""
    whole = Decimal(one.unused_hours.numerator) / Decimal(one.unused_hours.denominator)
    return IdleAnswer(
        session=one.of.session,
        user=one.of.person,
        group=one.of.group,
        flavor=one.of.flavor,
        unused_hours=_text(whole.quantize(_SHOWN, ROUND_HALF_EVEN)),
        unused_gpu_hours=_text(hours(one.unused_u)),
        evidence="no_process" if one.no_process else "low_utilisation",
        allocated_gpu_hours=_text(hours(one.of.sums.alloc_u)),
        unobserved_gpu_hours=_text(hours(one.of.sums.unobserved_u)),
    )


def hint_answer(one: Hint) -> HintAnswer:
    """One hint."""
    return HintAnswer(
        code=one.code,
        user=one.person,
        group=one.group,
        flavor=one.flavor,
        sentence=one.sentence,
        sessions=one.sessions,
        gpu_hours=_text(hours(one.gpu_u)),
        peak_memory_bytes=one.peak,
        suggested_flavor=one.suggested,
    )


class FlavorAnswer(_Answer):
    """A flavour of the catalog that holds now."""

    flavor: str
    title: str
    type: str
    share: str


class CatalogAnswer(_Answer):
    """What reports are read against, and what this reader may ask for."""

    site: str
    timezone: str
    today: date
    digest: str | None
    flavors: list[FlavorAnswer]
    views: list[View] = Field(description="What this reader may ask for.")
    groups: list[str] = Field(description="Groups whose usage this reader may read.")
    only_simulated: bool = Field(description="There are simulated devices here and no real ones.")


class QuotaAnswer(_Answer):
    """A group's quota of one flavour, and what was used against it."""

    flavor: str
    flavor_type: str
    devices: int = Field(description="At the same time, at the end of what is counted.")
    changed: bool = Field(description="It was not the same all the time.")
    entitled_hours: DecimalText = Field(description="Quota times share times time, so far.")
    allocated_hours: DecimalText
    known_from: datetime


class QuotasAnswer(_Answer):
    """A group's quotas over a period."""

    group: str
    first: date = Field(serialization_alias="from")
    last: date = Field(serialization_alias="to")
    simulated: Simulated
    quotas: list[QuotaAnswer]


def quota_answer(one: Quota, allocated_u: int) -> QuotaAnswer:
    """One quota."""
    return QuotaAnswer(
        flavor=one.flavor,
        flavor_type=one.flavor_type,
        devices=one.devices,
        changed=one.changed,
        entitled_hours=_text(hours(one.entitled_u)),
        allocated_hours=_text(hours(allocated_u)),
        known_from=from_ms(one.known_from),
    )


class Problem(_Answer):
    """Why there is no answer."""

    code: str = Field(description="A stable word.")
    message: str
    remedy: str = ""
