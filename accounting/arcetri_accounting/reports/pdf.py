"""A report as a PDF, typeset by Typst: what a group attaches to the minutes of its board."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import typst

from arcetri_accounting.contract.units import UNITS_PER_HOUR, from_ms
from arcetri_accounting.reports import charts, present
from arcetri_accounting.reports.numbers import Amounts, Sums
from arcetri_accounting.reports.sessions import SessionLine
from arcetri_accounting.reports.views import ReportPage, Table

TEMPLATE: Final = Path(__file__).parent / "templates" / "report.typ"
_IDLE: Final = 25
_HINTS: Final = 25


def write(page: ReportPage) -> bytes:
    """Typeset the content of a page of numbers."""
    made = typst.compile(
        TEMPLATE.read_bytes(),
        format="pdf",
        # Only the fonts that come with Typst: the same document on every machine.
        font_paths=typst.Fonts(include_system_fonts=False),
        sys_inputs={"data": json.dumps(_data(page))},
        timestamp=page.context.now // 1000,
    )
    if not isinstance(made, bytes):
        raise TypeError("Typst made several files of one document")
    return made


def _data(page: ReportPage) -> dict[str, Any]:
    context, wanted = page.context, page.links.wanted
    total = page.report.total
    return {
        "site": context.site,
        "title": {"own": context.reader.name, "group": wanted.group, "all": "All groups"}[
            page.view
        ],
        "period": _period(page),
        "covers": page.report.covers,
        "filters": _filters(page),
        "simulated": wanted.simulated == "only",
        "zone": context.zone.key,
        "made": f"{from_ms(context.now).astimezone(context.zone):%Y-%m-%d %H:%M}",
        "final": page.report.completeness.final,
        "notes": page.report.notes,
        "total": _line("Total", total),
        "has_fpga": bool(total.fpga.alloc_u or total.running_fpga.alloc_u),
        "energy": present.energy(total.energy_mj) if total.energy_mj else None,
        "parts": [title for _, title in charts.PARTS],
        "bars_by": page.bars_by,
        "bars": [
            {"label": bar.label, "parts": [part / 3_600_000 / 10_080 for part in bar.parts]}
            for bar in page.bars
        ],
        "ticks": _ticks(page),
        "tables": [_table(table) for table in page.tables],
        "quotas": [
            {
                "flavor": context.title(one.flavor),
                "devices": str(one.devices) + (" (changed)" if one.changed else ""),
                "entitled": present.gpu(one.entitled_u),
                "allocated": present.gpu(used),
                "part": present.percent(used, one.entitled_u),
            }
            for one, used in page.quotas
        ],
        "hints": _hints(page),
        "idle": _idle(page),
        "idle_more": max(0, len(page.advice.idle) - _IDLE) if page.advice else 0,
        "sessions": [_session(page, line) for line in page.sessions.lines],
        "sessions_more": page.sessions.count - len(page.sessions.lines),
        "own": page.view == "own",
    }


def _ticks(page: ReportPage) -> list[dict[str, Any]]:
    """Where the chart's lines are: the same as on the page."""
    most = max((bar.whole for bar in page.bars), default=0) / UNITS_PER_HOUR
    return [{"at": one, "label": f"{one:g}"} for one in charts.steps(most or 1)]


def _session(page: ReportPage, line: SessionLine) -> dict[str, str]:
    sums = line.observed
    about = ["running"] if line.running else []
    about.append(present.duration(line.until - line.started))
    # Where all are, the document says it once.
    about += ["simulated"] if line.simulated and page.links.wanted.simulated != "only" else []
    about += [one for one in line.provenances if one != "agent"]
    amounts = line.amounts
    hours = {
        "gpu": f"{present.gpu(sums.alloc_u)} GPU",
        "fpga": f"{present.gpu(amounts.fpga.alloc_u + amounts.running_fpga.alloc_u)} FPGA",
        "cpu": f"{present.cores(sums.core_ms)} core",
    }
    return {
        "started": page.context.moment(line.started),
        "about": ", ".join(about),
        "person": line.who.label(names=page.names),
        "group": line.group,
        "flavor": ", ".join(map(page.context.title, line.flavors)),
        "hours": hours[line.flavor_type],
        "used": _used(sums),
        "occupied": present.occupied(sums),
        "unobserved": present.unobserved(sums),
        "peak": present.NONE if line.mem_peak is None else present.size(line.mem_peak),
    }


def _period(page: ReportPage) -> str:
    period = page.links.wanted.period
    whole = period.whole_month()
    return f"{period.first:%B %Y}" if whole else str(period)


def _filters(page: ReportPage) -> str:
    wanted = page.links.wanted
    said = []
    if wanted.user:
        said.append(f"user {wanted.user}")
    if wanted.flavor:
        said.append(f"flavour {page.context.title(wanted.flavor)}")
    if wanted.group and page.view != "group":
        said.append(f"group {wanted.group}")
    return ", ".join(said)


def _used(sums: Sums) -> str:
    if not sums.util_u:
        return "not measurable" if sums.alloc_u else present.NONE
    return f"{present.gpu(sums.used_u)} of {present.gpu(sums.util_u)}"


def _line(label: str, amounts: Amounts) -> dict[str, Any]:
    gpu = amounts.gpu
    return {
        "label": label,
        "allocated": present.gpu(gpu.alloc_u),
        "used": _used(gpu),
        "fraction": present.percent(gpu.used_fraction),
        "measured": bool(gpu.util_u),
        "occupied": present.occupied(gpu),
        "unobserved": present.unobserved(gpu),
        "fpga": present.gpu(amounts.fpga.alloc_u),
        "cores": present.cores(amounts.core_ms),
        "running": present.gpu(amounts.running.alloc_u) if amounts.running.alloc_u else None,
    }


def _table(table: Table) -> dict[str, Any]:
    return {
        "title": table.title,
        "by": table.by,
        "rows": [_line(row.label, row.amounts) for row in table.rows],
    }


def _hints(page: ReportPage) -> list[dict[str, str]]:
    found = page.advice.hints[:_HINTS] if page.advice else []
    return [
        {
            "person": hint.person,
            "flavor": page.context.title(hint.flavor),
            "sentence": hint.sentence,
            "hours": present.gpu(hint.gpu_u),
            "sessions": str(hint.sessions),
        }
        for hint in found
    ]


def _idle(page: ReportPage) -> list[dict[str, str]]:
    found = page.advice.idle[:_IDLE] if page.advice else []
    return [
        {
            "started": page.context.moment(one.of.started),
            "session": one.of.session[:13],
            "person": one.of.person,
            "group": one.of.group,
            "flavor": page.context.title(one.of.flavor),
            "unused": present.duration(int(one.unused_hours * 3_600_000)),
            "hours": f"{present.gpu(one.unused_u)} of {present.gpu(one.of.sums.alloc_u)}",
            "seen": "no process on the device"
            if one.no_process
            else f"{present.low_percent(one.of.sums.used_fraction)} used where measured",
        }
        for one in found
    ]
