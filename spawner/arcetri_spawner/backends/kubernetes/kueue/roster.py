"""Who holds what and who waits, by group and flavour, counted as Workloads change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from arcetri_spawner.backends.kubernetes.kueue import places, telling
from arcetri_spawner.backends.kubernetes.kueue.asking import (
    Whose,
    need_of,
    nodes_of,
    ticket_name,
    whose,
)
from arcetri_spawner.backends.kubernetes.site import Need
from kueue_client import TicketState, TicketStatus, Workload, is_aside

Key = tuple[str, str]
"""A group and a flavour."""


class Roster:
    """The requests that are in the queue, as far as they are counted."""

    def __init__(self) -> None:
        self._held: dict[Key, int] = {}
        self._waiting: dict[Key, dict[str, places.Age]] = {}
        self._needs: dict[str, Need] = {}
        """What each of those that wait needs of a node, by its name."""
        self._names: dict[UUID, str] = {}
        """What the Workloads are called of those that have gone back in line."""
        self.apart: set[str] = set()
        """The names of those that do not wait in Kueue's eyes, and may in the platform's."""
        self.aside: set[str] = set()
        """The names of those that stand aside."""
        self.movable: set[str] = set()
        """The names of those, and of those that were bound to nodes."""

    def note(self, one: Workload | None) -> None:
        """Count a Workload: for what it holds, or among those that wait."""
        self._count(one, 1)

    def forget(self, one: Workload | None) -> None:
        """Count a Workload no more."""
        self._count(one, -1)

    def _count(self, one: Workload | None, by: int) -> None:
        who = whose(one) if one is not None else None
        if one is None or who is None:
            return
        if by > 0 and one.name != ticket_name(who.request):
            self._names[who.request] = one.name
        elif by < 0:
            self._names.pop(who.request, None)
        key, state = _key(who), TicketStatus.of(one).state
        if state in telling.HOLDING:
            self._held[key] = self._held.get(key, 0) + by
        elif state is TicketState.WAITING:
            waiting = self._waiting.setdefault(key, {})
            if by > 0:
                waiting[one.name] = places.age(one)
                self._needs[one.name] = need_of(one)
            else:
                waiting.pop(one.name, None)
                self._needs.pop(one.name, None)
        _keep(self.apart, one.name, here=by > 0 and state is not TicketState.WAITING)
        _keep(self.aside, one.name, here=by > 0 and is_aside(one))
        movable = by > 0 and (is_aside(one) or nodes_of(one) is not None)
        _keep(self.movable, one.name, here=movable)

    def name_of(self, request: UUID) -> str:
        """What a request's Workload is called."""
        return self._names.get(request) or ticket_name(request)

    def held(self, who: Whose) -> int:
        """How many requests of a group hold a flavour."""
        return self._held.get(_key(who), 0)

    def behind(self, who: Whose, one: Workload) -> bool:
        """Whether others of a group wait for a flavour before a Workload, in its size.

        Kueue passes those by that wait for a size of which no node has room.
        """
        mine, need = places.age(one), need_of(one)
        before = self._waiting.get(_key(who), {})
        return any(age < mine and self._needs[name] == need for name, age in before.items())

    def waiting(self) -> Sequence[tuple[Key, Mapping[str, places.Age]]]:
        """Who waits, by group and flavour: their ages by their names."""
        return [(key, names) for key, names in self._waiting.items() if names]


def _key(who: Whose) -> Key:
    return who.group, who.flavor


def _keep(names: set[str], name: str, *, here: bool) -> None:
    if here:
        names.add(name)
    else:
        names.discard(name)


def queues_of(workloads: Iterable[Workload]) -> frozenset[str]:
    """The queues in which these wait; mostly it is one."""
    return frozenset(one.spec.queue_name for one in workloads)
