"""A person's sessions as the home page shows them; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from arcetri_hub.pages import amounts
from arcetri_hub.pages.choices import group_title
from arcetri_hub.pages.wording import state_text
from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.live import LiveRow
from arcetri_spawner.policy.model import Grant
from arcetri_spawner.store.records import BEFORE_START


@dataclass(frozen=True, slots=True)
class SessionCard:
    """One live session."""

    server_name: str
    title: str
    state: str
    running: bool
    waits: bool
    """Whether it has not begun to start."""
    simulated: bool
    devices: tuple[str, ...]
    environment: str
    size: str
    charged: str
    since: str
    allocated: str
    ends: str
    """When its lifetime is over, in words; empty before it runs."""
    away: bool = False
    """Whether its node gives no answer."""
    open_by: str = ""
    """Until when it is kept for its user, where it started by itself and nobody has opened it."""


def session_cards(
    rows: Iterable[LiveRow], username: str, catalog: Catalog, now: datetime
) -> tuple[SessionCard, ...]:
    """Lay out the live sessions of one person, oldest first."""
    return tuple(_card(row, catalog, now) for row in rows if row.grant.username == username)


def _card(row: LiveRow, catalog: Catalog, now: datetime) -> SessionCard:
    grant, session = row.grant, row.session
    zone = catalog.site.timezone
    devices = session.devices if session else ()
    flavor = catalog.flavors.get(grant.flavor)
    environment = catalog.environments.get(grant.environment)
    size = catalog.sizes.get(grant.size)
    group = catalog.groups.get(grant.group)
    return SessionCard(
        server_name=grant.server_name,
        title=flavor.title if flavor else grant.flavor,
        state=state_text(row),
        running=row.state == "running",
        waits=row.state in BEFORE_START,
        simulated=any(device.simulated for device in devices),
        devices=tuple(f"{device.model} {device.uuid}" for device in devices),
        environment=environment.title if environment else grant.environment,
        size=(size.title if size else "") or grant.size.capitalize(),
        charged=group_title(grant.group, group.title if group else ""),
        since=_since(row, zone, now),
        allocated=_allocated(grant, session.started, now) if session else "",
        ends=_ends(grant, session.started, zone, now) if session else "",
        away=row.away is not None,
        open_by=amounts.moment(row.open_by, zone, now) if row.open_by else "",
    )


def _since(row: LiveRow, zone: str, now: datetime) -> str:
    at = row.session.started if row.session else row.asked
    return f"{amounts.moment(at, zone, now)} ({amounts.span(now - at)})"


def _allocated(grant: Grant, started: datetime, now: datetime) -> str:
    hours = max((now - started) / timedelta(hours=1), 0.0)
    return amounts.allocated(grant.flavor_type, grant.share, grant.cpu, hours)


def _ends(grant: Grant, started: datetime, zone: str, now: datetime) -> str:
    end = started + grant.lifetime
    return f"{amounts.moment(end, zone, now)} (in {amounts.span(end - now)})"
