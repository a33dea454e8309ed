"""The ledger's usage in the formats of others: EGI accelerator records, and AUDITOR's.

Both have one record for each allocation and UTC month, from the roll-ups by quarter hour, so that
they agree with every report; what is rounded to a second is rounded once a record.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Any, Final, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from arcetri_accounting.contract.share import SHARE_UNITS
from arcetri_accounting.contract.units import QUARTER_MS, from_ms, to_ms
from arcetri_accounting.ledger.tables import AllocationRow, Dimensions, Person, QuarterRow
from arcetri_accounting.ledger.times import said

_TYPES: Final = {"gpu": "GPU", "fpga": "FPGA"}


class Month(NamedTuple):
    """What an allocation used in one month of UTC; times in ms, amounts in 1/10080 device-ms."""

    allocation: AllocationRow
    dimensions: Dimensions
    account: str
    name: str | None
    year: int
    month: int
    begin: int
    dur_ms: int
    used_u: int
    util_u: int
    core_ms: int


def months(session: Session, first: date, last: date, *, simulated: bool) -> Iterator[Month]:
    """Usage of devices in whole UTC months, oldest first.

    Args:
        session: A reading transaction.
        first: A day of the first month.
        last: A day of the last month.
        simulated: The simulated devices', or the real ones'; never both.
    """
    year, month = first.year, first.month
    while (year, month) <= (last.year, last.month):
        after = (year + month // 12, month % 12 + 1)
        begin = to_ms(datetime(year, month, 1, tzinfo=UTC)) // QUARTER_MS
        end = to_ms(datetime(*after, 1, tzinfo=UTC)) // QUARTER_MS
        names = ("dur_ms", "used_u", "util_u", "core_ms")
        sums = [func.sum(getattr(QuarterRow, name)) for name in names]
        rows = session.execute(
            select(
                AllocationRow,
                Dimensions,
                Person.account,
                Person.name,
                func.min(QuarterRow.quarter),
                *sums,
            )
            .join(Dimensions, Dimensions.id == AllocationRow.dimensions_id)
            .join(Person, Person.id == Dimensions.person_id)
            .join(QuarterRow, QuarterRow.allocation_id == AllocationRow.id)
            .where(QuarterRow.quarter >= begin, QuarterRow.quarter < end, QuarterRow.dur_ms > 0)
            .where(Dimensions.simulated.is_(simulated), Dimensions.flavor_type.in_(_TYPES))
            .group_by(AllocationRow.id, Dimensions.id, Person.id)
            .order_by(AllocationRow.first, AllocationRow.id)
            .execution_options(yield_per=1000)
        )
        for allocation, dimensions, account, name, quarter, *amounts in rows:
            start = max(allocation.first, quarter * QUARTER_MS)
            counted = (int(amount) for amount in amounts)
            yield Month(allocation, dimensions, account, name, year, month, start, *counted)
        year, month = after


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
        "SiteName": one.dimensions.site,
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
        "site": [dimensions.site],
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
        "stop_time": from_ms(one.begin + one.dur_ms).isoformat().replace("+00:00", "Z"),
    }
