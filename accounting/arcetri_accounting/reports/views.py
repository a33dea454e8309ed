"""What the pages show: everything is read here, in one transaction, and only laid out after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from sqlalchemy.orm import Session

from arcetri_accounting.contract.units import QUARTER_MS
from arcetri_accounting.ledger.disputes import Dispute
from arcetri_accounting.reports import charts, disputes, queries, service
from arcetri_accounting.reports.access import View
from arcetri_accounting.reports.charts import Bar
from arcetri_accounting.reports.hints import Idle
from arcetri_accounting.reports.numbers import NOTHING, By, Row, Sums
from arcetri_accounting.reports.params import Params
from arcetri_accounting.reports.periods import Period, month, month_after, month_before, month_key
from arcetri_accounting.reports.query import Filter, Listed
from arcetri_accounting.reports.quotas import Quota
from arcetri_accounting.reports.service import (
    Advice,
    Context,
    Report,
    SessionList,
)
from arcetri_accounting.reports.sessions import SessionLine, lines

PAGE_SESSIONS = 50
"""Sessions on one page of a list."""
SHOWN_SESSIONS = 15
"""Sessions on a report's page, before the link to all of them."""
SHOWN_UNUSED = 20
"""Of those that held a device unused."""

PATHS: dict[View, str] = {"own": "", "group": "group", "all": "all"}


@dataclass(frozen=True, slots=True)
class Links:
    """Addresses that keep the filters of the page they are on."""

    prefix: str
    view: View
    wanted: Filter

    def to(self, path: str, **changes: Any) -> str:
        """The address of a page, with the filters and these changes of them."""
        wanted = self.wanted
        values: dict[str, Any] = {
            "view": self.view,
            "from": wanted.period.first,
            "to": wanted.period.last,
            "group": wanted.group,
            "below": "true" if wanted.below else None,
            "user": wanted.user,
            "flavor": wanted.flavor,
            "kind": wanted.kind,
            "simulated": wanted.simulated,
        }
        values |= changes
        if path in PATHS.values():
            del values["view"]
        said = {name: value for name, value in values.items() if value is not None}
        return f"{self.prefix}{path}?{urlencode(said)}"

    def row(self, by: By, row: Row, accounts: Mapping[str, str]) -> str:
        """The sessions that a row sums."""
        if by == "month":
            period = month(row.key, self.wanted.period.zone)
            first = max(period.first, self.wanted.period.first)
            last = min(period.last, self.wanted.period.last)
            return self.to("sessions", **{"from": first, "to": last})
        if by == "day":
            return self.to("sessions", **{"from": row.key, "to": row.key})
        if by == "user":
            return self.to("sessions", user=accounts[row.key])
        return self.to("sessions", **{by: row.key})

    def session(self, name: str) -> str:
        """One session's page."""
        return f"{self.prefix}session?{urlencode({'id': name})}"

    def months(self, today: Any) -> list[tuple[str, str, bool]]:
        """The months around the page's, as text, address and whether it is the page's own."""
        this = self.wanted.period.whole_month()
        middle = self.wanted.period.first
        around = [month_before(middle), month_key(middle), month_after(middle)]
        found = sorted({*(key for key in around if key <= month_key(today)), month_key(today)})
        zone = self.wanted.period.zone
        return [
            (
                key,
                self.to(
                    PATHS[self.view],
                    **{"from": month(key, zone).first, "to": month(key, zone).last},
                ),
                key == this,
            )
            for key in found
        ]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of sums."""

    by: By
    title: str
    rows: list[Row]
    accounts: Mapping[str, str]

    @property
    def most(self) -> int:
        """The longest bar."""
        return max((row.amounts.gpu.alloc_u for row in self.rows), default=0)


@dataclass(frozen=True, slots=True)
class Choices:
    """What the filters' form offers."""

    groups: list[str]
    users: list[str]
    flavors: list[str]
    simulated: bool
    """Both kinds of devices have usage here, so one has to be chosen."""


@dataclass(frozen=True, slots=True)
class ReportPage:
    """A page of numbers."""

    context: Context
    view: View
    links: Links
    report: Report
    tables: list[Table]
    bars: list[Bar]
    bars_by: By
    sessions: SessionList
    listed: Links
    """Of the list of sessions, which may hold both kinds of devices."""
    running: list[SessionLine]
    advice: Advice | None
    quotas: list[tuple[Quota, int]]
    choices: Choices
    names: bool
    disputes: list[Dispute]


_TITLES: dict[By, str] = {
    "group": "By group",
    "user": "By user",
    "flavor": "By flavour",
    "day": "By day",
    "month": "By month",
}
_TABLES: dict[View, tuple[By, ...]] = {
    "own": ("flavor", "group"),
    "group": ("flavor", "user"),
    "all": ("group", "flavor", "user"),
}


def report_page(
    session: Session,
    found: Context,
    params: Params,
    view: View,
    prefix: str,
    by: By | None = None,
) -> ReportPage:
    """Read what a page of numbers shows.

    Args:
        session: A reading transaction.
        found: What every answer rests on.
        params: The filters.
        view: Whose page it is.
        prefix: The service's path.
        by: A table to have besides those that such a page has.

    Raises:
        arcetri_accounting.ledger.errors.Forbidden: The reader may not see it.
    """
    default: Listed = "only" if found.only_simulated else "exclude"
    asked = replace(params.asked(found, simulated=default), view=view)
    if view == "group" and asked.wanted.group is None:
        asked = replace(asked, wanted=replace(asked.wanted, group=_first_group(found)))
    wanted = asked.wanted
    if wanted.simulated == "both":
        wanted = replace(wanted, simulated=default)
        asked = replace(asked, wanted=wanted)
    quality = service.known(session, wanted.period, found.now)
    bars_by = charts.by(wanted.period)
    by_time = service.report(session, found, replace(asked, by=bars_by), quality)
    tables = []
    wished = dict.fromkeys((*((by,) if by else ()), *_TABLES[view]))
    for key in wished:
        if key != bars_by:
            made = service.report(session, found, replace(asked, by=key), quality)
            tables.append(Table(key, _TITLES[key], made.rows, made.accounts))
    tables.append(Table(bars_by, _TITLES[bars_by], by_time.rows, by_time.accounts))
    sight = by_time.sight
    # A list may hold both kinds, each marked; so nobody misses a session of their own.
    listed = wanted if view != "own" or params.simulated else replace(wanted, simulated="both")
    sessions = service.session_list(
        session, found, replace(asked, wanted=listed), limit=SHOWN_SESSIONS
    )
    listed_now: Listed = "both" if view == "own" else wanted.simulated
    now = replace(wanted, period=found.this_month(), simulated=listed_now)
    running = []
    if wanted.period.first <= found.today <= wanted.period.last:
        running = queries.running_sessions(session, now, sight, found.known_groups)
    groups, users, flavors = queries.choices(session, sight, found.known_groups)
    both = queries.has_both(session)
    quotas: list[tuple[Quota, int]] = []
    if view == "group" and wanted.group is not None and not wanted.user:
        entitled, used = service.quota_use(session, found, wanted.group, asked)
        quotas = [(one, used.get(one.flavor, 0)) for one in entitled]
    return ReportPage(
        context=found,
        view=view,
        links=Links(prefix, view, wanted),
        report=by_time,
        tables=tables,
        bars=charts.bars(by_time.rows, wanted.period),
        bars_by=bars_by,
        sessions=sessions,
        listed=Links(prefix, view, listed),
        running=lines(running, now.period),
        advice=None if view == "all" else service.advice(session, found, asked),
        quotas=quotas,
        choices=Choices(_groups(found, view, groups), users, flavors, both),
        names=sight.names,
        disputes=disputes.within(session, found, asked),
    )


def _first_group(found: Context) -> str:
    groups = _groups(found, "group", found.known_groups)
    return groups[0] if groups else "/"


def _groups(found: Context, view: View, used: Iterable[str]) -> list[str]:
    if view == "group" and found.reader.everything:
        return sorted({*found.groups, *found.known_groups})
    if view == "group":
        return sorted(found.leads)
    return sorted(used)


@dataclass(frozen=True, slots=True)
class SessionsPage:
    """A page of a list of sessions."""

    context: Context
    view: View
    links: Links
    report: Report | None
    """What the list adds up to; None where it holds both kinds of devices."""
    sessions: SessionList
    offset: int
    choices: Choices
    names: bool

    @property
    def before(self) -> int | None:
        """Where the page before begins."""
        return max(0, self.offset - PAGE_SESSIONS) if self.offset else None

    @property
    def after(self) -> int | None:
        """Where the page after begins."""
        following = self.offset + PAGE_SESSIONS
        return following if following < self.sessions.count else None


def sessions_page(
    session: Session, found: Context, params: Params, offset: int, prefix: str
) -> SessionsPage:
    """Read what a list of sessions shows."""
    default: Listed = "only" if found.only_simulated else "exclude"
    asked = params.asked(found, simulated=default)
    listed = service.session_list(session, found, asked, limit=PAGE_SESSIONS, offset=offset)
    wanted = asked.wanted
    made = None
    if wanted.simulated != "both":
        made = service.report(session, found, replace(asked, by="flavor"))
    groups, users, flavors = queries.choices(session, listed.sight, found.known_groups)
    return SessionsPage(
        context=found,
        view=listed.view,
        links=Links(prefix, listed.view, wanted),
        report=made,
        sessions=listed,
        offset=offset,
        choices=Choices(groups, users, flavors, queries.has_both(session)),
        names=listed.sight.names,
    )


@dataclass(frozen=True, slots=True)
class UnusedPage:
    """A page of the list of sessions that held a device unused."""

    context: Context
    view: View
    links: Links
    idle: list[Idle]
    offset: int
    choices: Choices
    names: bool
    at_once: int = PAGE_SESSIONS


def unused_page(
    session: Session, found: Context, params: Params, offset: int, prefix: str
) -> UnusedPage:
    """Read what the list of sessions that held a device unused shows."""
    default: Listed = "only" if found.only_simulated else "exclude"
    asked = params.asked(found, simulated=default)
    advice = service.advice(session, found, asked)
    _, sight = service.choose_view(found, asked.wanted, asked.view)
    groups, users, flavors = queries.choices(session, sight, found.known_groups)
    return UnusedPage(
        context=found,
        view=advice.view,
        links=Links(prefix, advice.view, asked.wanted),
        idle=advice.idle,
        offset=offset if offset < len(advice.idle) else 0,
        choices=Choices(groups, users, flavors, queries.has_both(session)),
        names=sight.names,
    )


def navigation(found: Context, prefix: str) -> list[tuple[str, str]]:
    """The pages that a reader has, as text and address."""
    reader = found.reader
    result = []
    if reader.own and reader.name:
        result.append(("My usage", prefix))
    if reader.everything or found.leads:
        result.append(("Groups", f"{prefix}group"))
    if reader.everything:
        result.append(("All", f"{prefix}all"))
        result.append(("Capacity", f"{prefix}capacity"))
    return result


def chart_bars(session: Session, found: Context, params: Params) -> list[Bar]:
    """What a report page's chart draws."""
    default: Listed = "only" if found.only_simulated else "exclude"
    asked = params.asked(found, simulated=default)
    made = service.report(session, found, replace(asked, by=charts.by(asked.wanted.period)))
    return charts.bars(made.rows, asked.wanted.period)


@dataclass(frozen=True, slots=True)
class Quarter:
    """A quarter hour of a session's timeline."""

    start: int
    parts: tuple[int, int, int, int]
    sums: Sums


@dataclass(frozen=True, slots=True)
class SessionPage:
    """One session."""

    context: Context
    lines: list[SessionLine]
    quarters: list[Quarter]
    links: Links
    names: bool
    wanted: Filter
    disputes: list[Dispute]


def session_detail(
    session: Session, found: Context, name: str, period: Period, prefix: str
) -> SessionPage | None:
    """Read what a session's page shows; None where there is none that the reader may see."""
    found_lines, sight = service.session_named(session, found, name, period)
    if not found_lines:
        return None
    ids = [part.id for line in found_lines for part in line.parts]
    by_quarter: dict[int, Sums] = {}
    for row in queries.quarters_of(session, ids):
        sums = Sums(
            row.alloc_u, row.used_u, row.util_u, row.occupied_u, row.unobserved_u,
            row.core_ms, row.energy_mj,
        )  # fmt: skip
        by_quarter[row.quarter] = by_quarter.get(row.quarter, NOTHING) + sums
    wanted = Filter(period, simulated="both")
    return SessionPage(
        context=found,
        lines=found_lines,
        quarters=[
            Quarter(number * QUARTER_MS, charts.split(sums), sums)
            for number, sums in sorted(by_quarter.items())
            if sums.alloc_u or sums.core_ms
        ],
        links=Links(prefix, "own", wanted),
        names=sight.names,
        wanted=wanted,
        disputes=disputes.of_session(session, name),
    )
