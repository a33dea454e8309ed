"""The admins' page as pure data: who holds what, and what is left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from uuid import UUID

from arcetri_hub.pages.wording import away_json, state_text
from arcetri_spawner.backends.base import Away, Device
from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.live import LiveRow
from arcetri_spawner.policy.model import Inventory


@dataclass(frozen=True, slots=True)
class SessionLine:
    """One request or session that holds, or is about to hold, something."""

    id: UUID
    username: str
    server_name: str
    """Empty for the user's default server."""
    group: str
    """Who is charged."""
    flavor: str
    flavor_title: str
    devices: tuple[Device, ...]
    state: str
    state_text: str
    since: datetime
    """When its process started, or, before that, when it was asked for."""
    idle_for: timedelta | None
    """None while it does not run, and until it was first looked at."""
    share: Fraction
    away: Away | None = None
    """What it runs on gives no answer."""

    def as_json(self) -> dict[str, object]:
        """The session as the REST API tells it; durations in seconds."""
        return {
            "id": str(self.id),
            "user": self.username,
            "server": self.server_name,
            "group": self.group,
            "flavor": self.flavor,
            "share": str(self.share),
            "devices": [
                {"uuid": d.uuid, "model": d.model, "simulated": d.simulated} for d in self.devices
            ],
            "state": self.state,
            "since": self.since.isoformat(),
            "idle_seconds": None if self.idle_for is None else int(self.idle_for.total_seconds()),
            "away": away_json(self.away),
        }


@dataclass(frozen=True, slots=True)
class FlavorLine:
    """What there is of one flavour."""

    flavor: str
    title: str
    total: int
    free: int
    """Devices nobody holds; how many one person could start is another number."""
    simulated: bool

    def as_json(self) -> dict[str, object]:
        """The flavour as the REST API tells it."""
        return {
            "flavor": self.flavor,
            "total": self.total,
            "free": self.free,
            "simulated": self.simulated,
        }


def session_lines(
    rows: Iterable[LiveRow], catalog: Catalog, idle_for: Mapping[UUID, timedelta | None]
) -> tuple[SessionLine, ...]:
    """Everything that is asked for or running, in the order given.

    A flavour that the catalog no longer names keeps its identifier as its title.
    """
    lines = []
    for row in rows:
        grant, session = row.grant, row.session
        flavor = catalog.flavors.get(grant.flavor)
        lines.append(
            SessionLine(
                id=grant.request_id,
                username=grant.username,
                server_name=grant.server_name,
                group=grant.group,
                flavor=grant.flavor,
                flavor_title=flavor.title if flavor else grant.flavor,
                devices=session.devices if session else (),
                state=row.state,
                state_text=state_text(row),
                since=session.started if session else row.asked,
                idle_for=idle_for.get(grant.request_id) if session else None,
                share=grant.share,
                away=row.away,
            )
        )
    return tuple(lines)


def flavor_lines(catalog: Catalog, inventory: Inventory) -> tuple[FlavorLine, ...]:
    """Every flavour of the catalog, in its order; one the backend has none of counts zero."""
    lines = []
    for name, flavor in catalog.flavors.items():
        found = inventory.flavors.get(name)
        lines.append(
            FlavorLine(
                flavor=name,
                title=flavor.title,
                total=found.total if found else 0,
                free=found.free if found else 0,
                simulated=bool(found and found.simulated),
            )
        )
    return tuple(lines)
