"""A ticket: a place in a queue that one holds oneself, with no pod or job of Kueue's behind it.

It is a Workload of one pod that belongs to nobody. Kueue lines it up, admits it, says where, and
evicts it like any other; but since there is no pod to stop, an eviction only asks: the quota stays
held until its holder releases it. So there is time to warn somebody and save their work.

::

    submit -> WAITING -> ADMITTED -> (ready) -> finish or leave
                 ^           |
                 |           v
                 +-release- EVICTED

``stand_aside`` and ``stand_in_line`` are for a holder who cannot use what was given, and does not
want it given again before something has changed.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from kueue_client import calls
from kueue_client.asked import Asked, affinity, same
from kueue_client.calls import Listing
from kueue_client.conditions import Change, changed
from kueue_client.enums import ConditionType, Reason
from kueue_client.errors import AlreadyExists, Conflict, WrongState
from kueue_client.standing import TicketStatus, is_aside
from kueue_client.steps import Awaiting, Blocking, Steps, arun, operation, run
from kueue_client.transport import AsyncTransport, Transport
from kueue_client.visibility import PendingWorkload
from kueue_client.watching import AsyncWatch, EventType, Progress, Watch
from kueue_client.why import Explanation, explain
from kueue_client.workloads import Workload

_ATTEMPTS: Final = 8
"""At a change of which somebody else was faster."""
_REQUEUED_AT_ONCE: Final = (Reason.PREEMPTED, Reason.NODE_FAILURES)
"""Evictions after which Kueue's own jobs stand in line again without anything else happening."""


class _Ticket:
    def __init__(self, name: str, namespace: str, manager: str) -> None:
        self.name = name
        self.namespace = namespace
        self._manager = manager

    @operation
    def submit(self, asked: Asked) -> Steps[TicketStatus]:
        """Ask for a place; asking for the same again finds the place one has.

        Raises:
            AlreadyExists: There is a ticket of this name that asks for something else.
            WebhookDown: Kueue could not be asked; there is no ticket.
            Unreachable: Whether there is a ticket is not known: submit again.
        """
        wanted = asked.workload(self.name, self.namespace)
        try:
            made = yield from calls.create(wanted, self._manager)
        except AlreadyExists as error:
            made = yield from self._read()
            if not same(wanted, made):
                raise AlreadyExists(
                    f"There is a ticket {self.name} that asks for something else.",
                    status=error.status,
                    reason=error.reason,
                ) from error
        return TicketStatus.of(made)

    @operation
    def look(self) -> Steps[TicketStatus]:
        """See where the ticket is.

        Raises:
            NotFound: There is none: it was never submitted, or has left.
        """
        return TicketStatus.of((yield from self._read()))

    @operation
    def position(self) -> Steps[PendingWorkload | None]:
        """The ticket's places in line, counted from 0; None where it does not stand in line.

        Raises:
            NotFound: There is no ticket, or its queue is missing.
            VisibilityDown: Kueue cannot be asked.
        """
        return (yield from self._position((yield from self._read())))

    @operation
    def why(self) -> Steps[Explanation]:
        """Why the ticket is not admitted, in words.

        Raises:
            NotFound: There is no ticket.
        """
        found = yield from self._read()
        return (yield from explain(found))

    @operation
    def ready(self) -> Steps[TicketStatus]:
        """Say that what the ticket is for runs; else Kueue may evict it after a while.

        Raises:
            WrongState: It is not admitted.
        """

        def change(found: Workload) -> dict[str, Any] | None:
            if TicketStatus.of(found).admitted is None:
                raise WrongState(f"The ticket {self.name} is not admitted: nothing can run on it.")
            if found.holds(ConditionType.PODS_READY):
                return None
            return changed(found, (ConditionType.PODS_READY, True, Reason.STARTED, "It runs"))

        return (yield from self._change(change))

    @operation
    def release(self, *, activate: bool = True) -> Steps[TicketStatus]:
        """Give back what the ticket holds, and stand in line again at one's old place.

        Until this, what was evicted still holds its quota. A ticket that waits is left as it is;
        one that Kueue has deactivated, since its time was up, is made active again, unless one does
        not want to stand in line yet. Whoever never wants to finishes or leaves.

        Raises:
            WrongState: It has finished.
        """

        def change(found: Workload) -> dict[str, Any] | None:
            if found.holds(ConditionType.FINISHED):
                raise WrongState(f"The ticket {self.name} has finished: it holds nothing.")
            if found.status.admission is None and not found.holds(ConditionType.QUOTA_RESERVED):
                return None
            evicted = found.condition(ConditionType.EVICTED)
            evicted = evicted if evicted and evicted.holds else None
            why = evicted.message if evicted else "It was released by its holder"
            gone: list[Change] = [
                (ConditionType.QUOTA_RESERVED, False, Reason.PENDING, why),
                (ConditionType.ADMITTED, False, Reason.NO_RESERVATION, why),
            ]
            if found.holds(ConditionType.PODS_READY):
                gone.append((ConditionType.PODS_READY, False, Reason.WAIT_FOR_START, why))
            if evicted:
                # As Kueue does for its own jobs: others wait until what stopped them is over.
                at_once = evicted.reason.base in _REQUEUED_AT_ONCE
                gone.append((ConditionType.REQUEUED, at_once, evicted.reason.base, why))
            # What has asked for the deactivation has had its way: left there, it would ask again.
            done = {ConditionType.DEACTIVATION_TARGET} if found.spec.active is False else set()
            # All in one: Kueue's webhook refuses a Workload that is half released.
            return {**changed(found, *gone, without=done), "admission": None}

        found = yield from self._change(change)
        if activate and found.workload.spec.active is False:
            again = {"spec": {"active": True}}
            where = (Workload, self.name, self.namespace)
            found = TicketStatus.of((yield from calls.patch(*where, again, self._manager)))
        return found

    @operation
    def stand_aside(self, why: str) -> Steps[TicketStatus]:
        """Give back what the ticket holds, and keep its place without standing in line.

        Kueue passes it by until ``stand_in_line``. For a holder who knows of a bound that Kueue
        does not: what was given would be of no use now.

        Args:
            why: Said in the ticket's conditions, without a full stop.

        Raises:
            WrongState: It has finished.
        """

        def change(found: Workload) -> dict[str, Any] | None:
            if found.holds(ConditionType.FINISHED):
                raise WrongState(f"The ticket {self.name} has finished: it stands nowhere.")
            if found.status.admission is None and is_aside(found):
                return None
            gone: list[Change] = [
                (ConditionType.QUOTA_RESERVED, False, Reason.PENDING, why),
                (ConditionType.ADMITTED, False, Reason.NO_RESERVATION, why),
                (ConditionType.REQUEUED, False, Reason.STANDS_ASIDE, why),
            ]
            return {**changed(found, *gone), "admission": None}

        return (yield from self._change(change))

    @operation
    def stand_in_line(self, node_terms: Sequence[Mapping[str, Any]] = ()) -> Steps[TicketStatus]:
        """Stand in line again at one's old place, for other nodes.

        Args:
            node_terms: Of the node affinity that is required from now on, as in ``Asked``.

        Raises:
            WrongState: It holds something: what it asks for cannot change now.
            Conflict: Somebody was faster: look again.
        """
        found = yield from self._read()
        if found.status.admission is not None:
            raise WrongState(f"The ticket {self.name} holds what it was given.")
        wire = found.to_wire()["spec"]["podSets"]
        pod = wire[0]["template"]["spec"]
        pod.pop("affinity", None)
        if node_terms:
            pod |= affinity(node_terms)
        metadata = {"resourceVersion": found.metadata.resource_version}
        where = (Workload, self.name, self.namespace)
        body = {"metadata": metadata, "spec": {"podSets": wire}}
        yield from calls.patch(*where, body, self._manager)

        def change(found: Workload) -> dict[str, Any] | None:
            if not is_aside(found):
                return None
            return changed(
                found,
                (ConditionType.REQUEUED, True, Reason.STANDS_IN_LINE, "It stands in line again"),
                (ConditionType.QUOTA_RESERVED, False, Reason.PENDING, "pending evaluation"),
            )

        return (yield from self._change(change))

    @operation
    def ask_for(self, asked: Asked) -> Steps[TicketStatus]:
        """Ask for something else, at the place one has: the ticket's age stays.

        A priority and a longest time stay as they were.

        Raises:
            NotFound: There is none.
            WrongState: It holds something, or has finished: what it asks for cannot change now.
            Conflict: Somebody was faster: look again.
        """
        found = yield from self._read()
        if found.status.admission is not None or found.holds(ConditionType.FINISHED):
            raise WrongState(f"The ticket {self.name} does not wait: it asks for what it has.")
        wanted = asked.workload(self.name, self.namespace).to_wire()
        spec = {name: wanted["spec"][name] for name in ("podSets", "queueName")}
        metadata = {
            "resourceVersion": found.metadata.resource_version,
            "labels": dict(asked.labels),
            "annotations": dict(asked.annotations),
        }
        where = (Workload, self.name, self.namespace)
        body = {"metadata": metadata, "spec": spec}
        made = yield from calls.patch(*where, body, self._manager)
        return TicketStatus.of(made)

    @operation
    def finish(self, *, failed: bool = False, message: str = "It has ended") -> Steps[TicketStatus]:
        """Say that it is over: the quota is free, and the Workload stays to be read."""
        reason = Reason.FAILED if failed else Reason.SUCCEEDED

        def change(found: Workload) -> dict[str, Any] | None:
            if found.holds(ConditionType.FINISHED):
                return None
            return changed(found, (ConditionType.FINISHED, True, reason, message))

        return (yield from self._change(change))

    @operation
    def leave(self) -> Steps[bool]:
        """Leave the line, or give back what is held; nothing of the ticket stays.

        Returns False where there was none.
        """
        return (yield from calls.delete(Workload, self.name, self.namespace))

    def _read(self) -> Steps[Workload]:
        return (yield from calls.get(Workload, self.name, self.namespace))

    def _position(self, found: Workload) -> Steps[PendingWorkload | None]:
        line = yield from calls.pending(found.spec.queue_name, self.namespace)
        return next((one for one in line if one.metadata.name == self.name), None)

    def _listing(self) -> Steps[Listing[Workload]]:
        fields = f"metadata.name={self.name}"
        return (yield from calls.list_all(Workload, self.namespace, fields=fields))

    def _progress(self, listing: Listing[Workload], seconds: float | None) -> Progress[Workload]:
        deadline = None if seconds is None else time.monotonic() + seconds
        fields = f"metadata.name={self.name}"
        progress = Progress(Workload, self.namespace, fields=fields, deadline=deadline)
        progress.start(listing)
        return progress

    def _change(self, decide: Callable[[Workload], dict[str, Any] | None]) -> Steps[TicketStatus]:
        """Change the status as is decided on what is there, also when somebody else is faster."""
        for attempt in range(_ATTEMPTS):
            found = yield from self._read()
            status = decide(found)
            if status is None:
                return TicketStatus.of(found)
            version = found.metadata.resource_version
            change = {"metadata": {"resourceVersion": version}, "status": status}
            where = (Workload, self.name, self.namespace)
            try:
                made = yield from calls.patch(*where, change, self._manager, part="status")
            except Conflict:
                if attempt == _ATTEMPTS - 1:
                    raise
                continue
            return TicketStatus.of(made)
        raise AssertionError  # the last attempt returned or raised


class Ticket(Blocking, _Ticket):
    """A place in a queue; its operations block."""

    def __init__(self, name: str, namespace: str, manager: str, transport: Transport) -> None:
        """Made by a ``Kueue``; asks nothing yet."""
        super().__init__(name, namespace, manager)
        self._doer: Transport = transport

    def watch(self, *, seconds: float | None = None) -> Iterator[TicketStatus]:
        """The ticket as it is, and whenever it changes, until it is gone or the time is up.

        Raises:
            KueueError: At the beginning, when it cannot be read; later it is tried again for ever.
        """
        listing = run(self._listing(), self._doer)
        yield from map(TicketStatus.of, listing.items)
        if listing.items:
            for event in Watch(self._progress(listing, seconds), self._doer):
                if event.type is EventType.DELETED:
                    return
                yield TicketStatus.of(event.object)


class AsyncTicket(Awaiting, _Ticket):
    """A place in a queue; its operations are awaited."""

    def __init__(self, name: str, namespace: str, manager: str, transport: AsyncTransport) -> None:
        """Made by an ``AsyncKueue``; asks nothing yet."""
        super().__init__(name, namespace, manager)
        self._doer: AsyncTransport = transport

    async def watch(self, *, seconds: float | None = None) -> AsyncIterator[TicketStatus]:
        """The ticket as it is, and whenever it changes; as that of ``Ticket``."""
        listing = await arun(self._listing(), self._doer)
        for one in listing.items:
            yield TicketStatus.of(one)
        if listing.items:
            async for event in AsyncWatch(self._progress(listing, seconds), self._doer):
                if event.type is EventType.DELETED:
                    return
                yield TicketStatus.of(event.object)
