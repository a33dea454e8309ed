"""What an estimate is made from. All immutable, all free of I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID


@dataclass(frozen=True, slots=True)
class PastSession:
    """How long a session held its place."""

    flavor: str
    flavor_type: str
    group: str
    began: datetime
    lasted: timedelta
    natural: bool = True
    """False where something else than its user or idleness ended it, such as its ``lifetime``: left
    alone it would have lasted longer, nobody knows how long."""


@dataclass(frozen=True, slots=True)
class RunningSession:
    """A session that holds a place now."""

    flavor: str
    flavor_type: str
    group: str
    began: datetime
    ends_by: datetime | None = None
    """When it ends at the latest: by its ``lifetime``, or an end that was announced."""


@dataclass(frozen=True, slots=True)
class WaitingRequest:
    """A request that waits for a place."""

    id: UUID
    group: str
    lifetime: timedelta | None = None
    """How long its session may last; it matters to those behind it."""


class Order(StrEnum):
    """Who is next when a place is free."""

    FIRST_COME = "first_come"
    """The first in line whose group's quota allows it."""
    FAIR_SHARE = "fair_share"
    """The first of that group which holds least of its quota; places are provisional."""


@dataclass(frozen=True, slots=True)
class Line:
    """Everybody who holds or wants a place of one flavour."""

    flavor: str
    flavor_type: str
    places: int
    """How many sessions of the flavour there is room for, taken or not."""
    running: tuple[RunningSession, ...]
    waiting: tuple[WaitingRequest, ...]
    """In the queue's order, the next one first."""
    quotas: Mapping[str, int] = field(default_factory=dict)
    """By group; a group without quota is absent."""
    borrow: Mapping[str, int] = field(default_factory=dict)
    """How far beyond its quota a group may go."""
    order: Order = Order.FIRST_COME
