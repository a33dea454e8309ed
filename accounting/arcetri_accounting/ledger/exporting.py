"""The ledger's usage in the formats of others: EGI accelerator records, and AUDITOR's.

Both have one record for each allocation and UTC month, from the roll-ups by quarter hour and from
what stands for those that were dropped, so that they agree with every report; what is rounded to a
second is rounded once a record.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from fractions import Fraction
from typing import Any, Final, NamedTuple

from sqlalchemy import Subquery, func, select, union_all
from sqlalchemy.orm import Session

from arcetri_accounting.contract.share import SHARE_UNITS
from arcetri_accounting.contract.units import QUARTER_MS
from arcetri_accounting.ledger.errors import Refused
from arcetri_accounting.ledger.months import LOST_SETTING, begin_of, month_of, name_of
from arcetri_accounting.ledger.months import number as month_number
from arcetri_accounting.ledger.registry import SITE_SETTING, setting
from arcetri_accounting.ledger.tables import (
    AllocationRow,
    Dimensions,
    MonthRow,
    Person,
    QuarterRow,
)
from arcetri_accounting.ledger.times import said

_TYPES: Final = {"gpu": "GPU", "fpga": "FPGA"}
_AMOUNTS: Final = ("dur_ms", "used_u", "util_u", "core_ms")


class NoSite(Refused):
    """A record belongs to this ledger's site, and nobody has said what that is called."""

    default_code = "site_unknown"


class Month(NamedTuple):
    """What an allocation used in one month of UTC; times in ms, amounts in 1/10080 device-ms."""

    allocation: AllocationRow
    dimensions: Dimensions
    account: str
    name: str | None
    site: str
    year: int
    month: int
    begin: int
    dur_ms: int
    used_u: int
    util_u: int
    core_ms: int


def months(
    session: Session, first: date, last: date, *, simulated: bool, site: str | None = None
) -> Iterator[Month]:
    """Usage of devices in whole UTC months, oldest first.

    Args:
        session: A reading transaction.
        first: A day of the first month.
        last: A day of the last month.
        simulated: The simulated devices', or the real ones'; never both.
        site: What to call this ledger's site in records from before a catalog named it; None for
            what it is called now.

    Raises:
        Refused: A month is no longer known by allocation, or a record's site has no name.
    """
    wanted = range(month_number(first.year, first.month), month_number(last.year, last.month) + 1)
    lost = int(setting(session, LOST_SETTING) or 0)
    if wanted and begin_of(wanted[0]) < lost:
        whole = month_of(lost - 1) + 1
        raise Refused(
            f"What was used before {name_of(whole)} is no longer known by session: its roll-ups by"
            " quarter hour were dropped by a version of Arcetri that kept no months of them.",
            code="months_lost",
            remedy=f"Export from {name_of(whole)}-01 on; reports have the totals of what was"
            " before.",
        )
    site = site or setting(session, SITE_SETTING) or ""
    if wanted and not site:
        for _ in _nameless(session, wanted, simulated=simulated):
            raise NoSite(
                "There is usage here from before any catalog named the site, and a record needs the"
                " name of its site.",
                remedy="Say it with --site, or start the platform once: the hub sends its catalog.",
            )
    return _months(session, wanted, site, simulated=simulated)


def _nameless(session: Session, wanted: range, *, simulated: bool) -> Iterator[Month]:
    return (one for one in _months(session, wanted, "", simulated=simulated) if not one.site)


def _months(session: Session, wanted: range, site: str, *, simulated: bool) -> Iterator[Month]:
    for month in wanted:
        used = _used(month)
        rows = session.execute(
            select(AllocationRow, Dimensions, Person.account, Person.name)
            .add_columns(*(column for column in used.c if column.name != "allocation_id"))
            .join(Dimensions, Dimensions.id == AllocationRow.dimensions_id)
            .join(Person, Person.id == Dimensions.person_id)
            .join(used, used.c.allocation_id == AllocationRow.id)
            .where(Dimensions.simulated.is_(simulated), Dimensions.flavor_type.in_(_TYPES))
            .order_by(AllocationRow.first, AllocationRow.id)
            .execution_options(yield_per=1000)
        )
        for allocation, dimensions, account, name, quarter, *amounts in rows:
            start = max(allocation.first, quarter * QUARTER_MS)
            counted = (int(amount) for amount in amounts)
            of = (account, name, dimensions.site or site, month // 12, month % 12 + 1, start)
            yield Month(allocation, dimensions, *of, *counted)


def _used(month: int) -> Subquery:
    """The first quarter hour and the amounts of each allocation in a month, from what is kept."""
    kept = select(QuarterRow.allocation_id, QuarterRow.quarter.label("first")).where(
        QuarterRow.quarter >= begin_of(month),
        QuarterRow.quarter < begin_of(month + 1),
        QuarterRow.dur_ms != 0,
    )
    dropped = select(MonthRow.allocation_id, MonthRow.first_quarter).where(MonthRow.month == month)
    both = union_all(
        kept.add_columns(*(getattr(QuarterRow, name) for name in _AMOUNTS)),
        dropped.add_columns(*(getattr(MonthRow, name) for name in _AMOUNTS)),
    ).subquery()
    return (
        select(both.c.allocation_id, func.min(both.c.first).label("first"))
        .add_columns(*(func.sum(both.c[name]).label(name) for name in _AMOUNTS))
        .group_by(both.c.allocation_id)
        .having(func.sum(both.c.dur_ms) > 0)
        .subquery()
    )


def egi(found: Iterator[Month], *, names: bool) -> Iterator[str]:
    """An EGI accelerator message (draft 4 of 2021-02-24), piece by piece.

    GPU-hours are ``Count`` x ``AvailableDuration``; ``ActiveDuration`` is null where no utilisation
    was measured. It is what was used in seconds of the same count.
    """
    yield '{"Type":"APEL-accelerator-message","Version":"0.1","UsageRecords":['
    for number, one in enumerate(found):
        yield ("," if number else "") + "\n" + json.dumps(egi_record(one, names=names))
    yield "\n]}\n"


def egi_record(one: Month, *, names: bool) -> dict[str, Any]:
    """One EGI accelerator record."""
    share = one.allocation.share_u
    count = Fraction(share, SHARE_UNITS)
    active = round(Fraction(one.used_u, share * 1000)) if one.util_u else None
    cores = one.allocation.millicores
    return {
        "MeasurementMonth": one.month,
        "MeasurementYear": one.year,
        "AssociatedRecordType": "job" if one.dimensions.kind == "batch" else "cloud",
        "AssociatedRecord": one.allocation.session,
        "GlobalUserName": (one.name or one.account) if names else one.account,
        "FQAN": one.dimensions.group,
        "SiteName": one.site,
        "Count": int(count) if count.denominator == 1 else float(count),
        "Cores": round(cores / 1000) if cores else None,
        "AvailableDuration": round(Fraction(one.dur_ms, 1000)),
        "ActiveDuration": active,
        "BenchmarkType": None,
        "Benchmark": None,
        "Type": _TYPES[one.dimensions.flavor_type],
        "Model": one.allocation.model or one.dimensions.flavor,
    }


def auditor(found: Iterator[Month], *, names: bool) -> Iterator[str]:
    """AUDITOR records, one JSON object a line, as its bulk import takes them."""
    for one in found:
        yield json.dumps(auditor_record(one, names=names)) + "\n"


def auditor_record(one: Month, *, names: bool) -> dict[str, Any]:
    """One AUDITOR record: GPU-hours are amount x score ``share`` x (stop - start).

    ``stop_time`` is the start plus what was allocated: where an allocation has holes, the record is
    that much shorter than the session.
    """
    dimensions, allocation = one.dimensions, one.allocation
    count = Fraction(allocation.share_u, SHARE_UNITS)
    device = [{"name": "share", "value": float(Fraction(1, count.denominator))}]
    components = [
        {
            "name": _TYPES[dimensions.flavor_type],
            "amount": count.numerator,
            "scores": device,
        }
    ]
    if allocation.millicores:
        components.append(
            {
                "name": "Cores",
                "amount": allocation.millicores,
                "scores": [{"name": "share", "value": 0.001}],
            }
        )
    meta = {
        "site": [one.site],
        "group": [dimensions.group],
        "user": [(one.name or one.account) if names else one.account],
        "flavor": [dimensions.flavor],
        "kind": [dimensions.kind],
        "provenance": [dimensions.provenance],
        "session": [allocation.session],
        "model": [allocation.model],
        "device": [allocation.device],
    }
    return {
        "record_id": f"arcetri-{one.year:04}{one.month:02}-{allocation.key.replace(':', '-')}",
        "meta": {name: values for name, values in meta.items() if values[0]},
        "components": components,
        "start_time": said(one.begin),
        "stop_time": said(one.begin + one.dur_ms),
    }
