"""The way of a session, strung together in one place: choice, grant, request, ticket, session, end.

Nothing else starts or ends a session. Forms, links and REST handlers come before ``start``; the
JupyterHub spawner is a thin adapter over it; the reaper and the admins' page end sessions through
``end``, which is in ``stopping``; what there is at the moment is found in ``lookups``. Whatever
fails or is cancelled on the way leaves no lease, no process and no live request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from arcetri_spawner.backends.base import Backend, Launch, Queue, Session
from arcetri_spawner.changes import Changes
from arcetri_spawner.chores import Chores
from arcetri_spawner.ending import Ends
from arcetri_spawner.errors import Busy, Denied
from arcetri_spawner.gate import Gate
from arcetri_spawner.live import ServiceObserver, Silent, outcome_of
from arcetri_spawner.policy.model import Identity, Offers
from arcetri_spawner.recovery import Recovery
from arcetri_spawner.running import RunningSessions
from arcetri_spawner.starting import Starts
from arcetri_spawner.stopping import Stopping
from arcetri_spawner.store.records import BEFORE_START
from arcetri_spawner.waiting.reconciler import Reconciler
from arcetri_spawner.waiting.room import WaitingRoom
from arcetri_spawner.waiting.unopened import Unopened
from arcetri_spawner.waiting.wanted import Demands

if TYPE_CHECKING:
    from arcetri_spawner.catalog import CatalogHolder
    from arcetri_spawner.identity import IdentitySource
    from arcetri_spawner.store import Store
    from arcetri_spawner.waiting.model import Asked


class SessionService(Stopping):
    """Starts, ends and recovers sessions over a queue and a backend."""

    def __init__(
        self,
        *,
        catalogs: CatalogHolder,
        store: Store,
        queue: Queue,
        backend: Backend,
        identities: IdentitySource,
        observer: ServiceObserver | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        gate = Gate(catalogs, store, backend, queue, identities, clock)
        watched: dict[str, Any] = {
            "store": store,
            "queue": queue,
            "gate": gate,
            "observer": observer or Silent(),
        }
        self.waiting = WaitingRoom(catalogs=catalogs, clock=clock, **watched)
        """Who has asked and not started yet."""
        self.demands = Demands(lambda: catalogs.current.catalog, clock)
        """What running sessions hold and somebody else wants back."""
        self.reconciler = Reconciler(
            self.waiting,
            runs=self._has,
            holding=self._holding,
            answers=lambda session_id: session_id in self._running,
            demands=self.demands,
            clock=clock,
            **watched,
        )
        """What moves them on."""
        self.unopened = Unopened(store, catalogs, self.end, clock)
        """What started by itself, and nobody has opened yet."""
        self._gate = gate
        self._store = store
        self._backend = backend
        self._observer = observer or Silent()
        self._clock = clock
        self._recovered = asyncio.Event()
        self._chores = Chores()
        self._changes = Changes()
        """Told when a start was recorded or is over, or a doubt is."""
        ends = Ends(store, queue, self.waiting.go_back)
        self._running = RunningSessions(store, backend, ends, self.demands)
        self._starts = Starts(
            backend=backend,
            waiting=self.waiting,
            running=self._running,
            unopened=self.unopened,
            ends=ends,
            changes=self._changes,
            **watched,
        )
        self._recovery = Recovery(
            store,
            queue,
            backend,
            keep=self._running.keep,
            unopened=self.unopened,
            ends=ends,
            changed=self._changes.tell,
        )

    async def offers(self, identity: Identity, server_name: str = "") -> Offers:
        """Every flavour this person's groups grant, and why one would not start now.

        Where the provider says nothing of them, it is of the groups that it named last.
        """
        return await self._gate.offers(identity.as_before(), server_name)

    async def ask(self, username: str, server_name: str, raw: object) -> Asked:
        """Ask for a session: it is admitted now, or waits in line and starts by itself.

        Whoever is admitted at once is expected to ``start`` it; else the platform does.

        Raises:
            Denied: Policy refuses.
            Busy: It could only wait for ever; nothing is kept.
            StoreError: It could not be recorded.
        """
        await self._recovered.wait()
        try:
            return await self.waiting.ask(username, server_name, raw)
        except (Denied, Busy) as error:
            self._observer.request_decided(outcome_of(error), error.code)
            raise

    async def start(self, username: str, server_name: str, raw: object, launch: Launch) -> Session:
        """Decide, from groups asked for just now, and start what is granted.

        What was asked for before and is admitted is what starts; ``raw`` is then not looked at.
        Where nothing was asked for, it is now.

        Raises:
            Denied: Policy refuses.
            Busy: It waits in line, or would have to; nothing was started.
            StoreError: It could not be recorded.
            BackendError: It could not be started; nothing of it remains.
        """
        await self._recovered.wait()
        return await self._starts.start(username, server_name, raw, launch)

    async def recover(self) -> None:
        """Find again what lived before the hub was restarted; once, before anything else.

        The backend has made its own records agree before this is called.
        """
        rows = await self._store.live_requests()
        await self.waiting.recover(row for row in rows if row.state in BEFORE_START)
        self.unopened.recover(rows)
        self.demands.recover(rows)
        await self._recovery.run(
            row for row in rows if row.state not in BEFORE_START and row.id not in self._running
        )
        self._recovered.set()

    async def close(self, *, end_sessions: bool) -> None:
        """Stop watching; with ``end_sessions``, end everything that waits or runs first."""
        if end_sessions:
            for waits in self.waiting.entries():
                await self.waiting.leave(waits, "shutdown")
            await asyncio.gather(*(self.end(key, "shutdown") for key in self._running.all()))
        await self.reconciler.close()
        await self.waiting.close()
        tasks = [
            *self._running.tasks(),
            *self._starts.tasks(),
            *self._recovery.tasks(),
            *self._chores.running(),
        ]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
