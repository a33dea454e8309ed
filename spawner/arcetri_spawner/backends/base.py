"""The two contracts of a backend: the queue, and what runs sessions.

A queue never runs anything, a backend never decides who is next. Both have an implementation for
one machine (``backends.local``) and one for Kubernetes, and pass the same tests.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from arcetri_spawner.folders.making import Space
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy.model import Grant, Inventory, MountedVolume, QueueBound, Reason


class TicketState(StrEnum):
    """Where a ticket is in the queue."""

    WAITING = "waiting"
    ADMITTED = "admitted"
    EVICTED = "evicted"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Device:
    """A device, or slice of one, that a session can hold."""

    uuid: str
    """``GPU-...``, ``MIG-...``, or ``SIM-...`` for a simulated one."""
    flavor: str
    model: str
    simulated: bool


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an admitted ticket may start."""

    devices: tuple[Device, ...] = ()
    """Known at admission in local mode; empty for a CPU-only flavour and on Kubernetes."""
    node: str | None = None


@dataclass(frozen=True, slots=True)
class Ticket:
    """A granted request's place in the queue."""

    request_id: UUID
    state: TicketState
    placement: Placement | None = None
    reason: Reason | None = None
    """Why it waits, or why it was evicted."""


@dataclass(frozen=True, slots=True)
class Position:
    """A ticket's place among the group's requests for the same flavour."""

    ahead: int
    provisional: bool = False
    """Whether shares between groups may change it."""
    others: int = 0
    """Earlier requests of other groups for the same flavour, where the order of asking counts
    between groups; they come first unless their group holds all of its quota."""


class Queue(Protocol):
    """Who is next. ``submit`` is idempotent by the request's id.

    One that has others before it (``Grant.earlier``) takes over their ticket, with its place, and
    gives back what they held.
    """

    @property
    def apart(self) -> bool:
        """Whether tickets are kept elsewhere than requests.

        Somebody can then delete one there whose session runs, and what is admitted can meet a
        device that the queue takes for free and is not.
        """
        ...

    def bounds(self) -> Mapping[tuple[GroupPath, str], QueueBound]:
        """Where it admits less than the catalog grants, by group and flavour: never waits."""
        ...

    async def submit(self, grant: Grant) -> Ticket:
        """Take a place, or return the one already taken."""
        ...

    def watch(self) -> AsyncIterator[Ticket]:
        """Tickets as they change, for ever; starts with every ticket as it is."""
        ...

    async def position(self, ticket: Ticket) -> Position | None:
        """The ticket's place; None when it does not wait."""
        ...

    async def ready(self, ticket: Ticket) -> None:
        """Say that the admitted session answers."""
        ...

    async def release(self, ticket: Ticket, *, requeue: bool) -> None:
        """Give back what an admitted ticket holds, and wait again or leave."""
        ...

    async def finish(self, ticket: Ticket) -> None:
        """Leave the queue and free everything; a second call changes nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Session:
    """A started session, as its backend knows it."""

    id: UUID
    """The same as the request's."""
    username: str
    server_name: str
    url: str
    """Where the single-user server answers, such as ``http://127.0.0.1:40001``."""
    devices: tuple[Device, ...]
    started: datetime
    state: Mapping[str, Any] = field(default_factory=dict)
    """What ``restore`` needs, JSON only."""


@dataclass(frozen=True, slots=True)
class Running:
    """The session runs."""


@dataclass(frozen=True, slots=True)
class Starting:
    """The session has not answered yet; ``resume`` goes on with its start."""


@dataclass(frozen=True, slots=True)
class Exited:
    """The session is gone."""

    code: int
    """Exit status; a negative one is the signal that ended it."""
    reason: str
    """A stable code, as in the lease journal."""
    details: str = field(default="", compare=False)
    """What was said of an end that nobody asked for, word for word; for those who want it."""
    message: str = field(default="", compare=False)
    """What its user should know besides; empty where the reason says all."""


@dataclass(frozen=True, slots=True)
class Away:
    """What a session runs on gives no answer: nobody can say whether the session still runs."""

    node: str
    """Its name."""
    since: datetime | None
    """When that was noticed; None where the node is not known at all any more."""
    until: datetime | None
    """About when the session is given up, unless the node is back before; None for never."""
    refuses: bool = False
    """Whether the node itself says that it is in trouble, rather than nothing."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The backend could not be asked; this never ends a session."""

    why: str


@dataclass(frozen=True, slots=True)
class Event:
    """One step of a start, in plain words."""

    at: datetime
    percent: int
    message: str
    details: str = ""
    """Raw text for those who want it."""


@dataclass(frozen=True, slots=True)
class Folder:
    """Where a session finds one of its volumes."""

    volume: MountedVolume
    path: str
    """The absolute path that programs open, the same in every session of the person; empty where
    the volume cannot be shown, because it lies inside another one's place."""
    protected: bool
    """Whether something stops a session from writing in a volume that is to be read only."""
    room: Space | None = None
    """How much room there is; None where nothing tells."""


class Backend(Protocol):
    """What runs sessions."""

    @property
    def closing(self) -> bool:
        """Whether the hub ends, and a start that is cancelled by that is the next hub's."""
        ...

    async def folders(self, username: str, volumes: Sequence[MountedVolume]) -> tuple[Folder, ...]:
        """Where a session started now would find each of these volumes, in their order."""
        ...

    def inventory(self) -> AsyncIterator[Inventory]:
        """What there is, at once and then at every change, for ever."""
        ...

    def current_inventory(self) -> Inventory:
        """What there is now, from memory: never waits."""
        ...

    async def unwell(self) -> Sequence[str]:
        """What sessions need and what does not answer now, a sentence each."""
        ...

    async def start(self, grant: Grant, ticket: Ticket, launch: Launch) -> Session:
        """Start what was granted on what the ticket was admitted to; return once it listens.

        Raises:
            BackendError: It could not be started; nothing of it remains.
        """
        ...

    async def poll(self, session: Session) -> Running | Exited | Unknown:
        """Whether the session still runs."""
        ...

    async def wait(self, session: Session) -> Exited:
        """Return when the session has ended, as soon as the backend can know."""
        ...

    async def stop(self, session: Session, grace: timedelta, *, reason: str = "stopped") -> None:
        """End the session: ask, wait at most ``grace``, then kill. Returns when it is gone.

        Also returns when what it ran on gives no answer, so that nobody can tell whether it is.
        """
        ...

    def away(self, session: Session) -> Away | None:
        """Whether what the session runs on gives no answer; None where it does, or unknown."""
        ...

    def progress(self, session_id: UUID) -> AsyncIterator[Event]:
        """The steps of a start, from its first one, until it is over."""
        ...

    async def restore(
        self, session_id: UUID, *, answered: bool = True, reason: str = ""
    ) -> Session | Starting | Exited | Unknown:
        """Find a session again after the hub was restarted.

        Args:
            session_id: Which one.
            answered: Whether it is known to have answered once; only one that is not can be
                ``Starting``.
            reason: Why it was about to be ended; empty where nobody had wanted that. If it has
                ended, it did so for this.
        """
        ...

    async def resume(self, session_id: UUID) -> Session:
        """Go on with a start that ``restore`` found, as ``start`` would have; cancelled likewise.

        Raises:
            BackendError: It could not be started; nothing of it remains.
        """
        ...


@dataclass(frozen=True, slots=True)
class Launch:
    """What JupyterHub wants the single-user server to be started with."""

    args: tuple[str, ...]
    """Arguments of the single-user command, without the port."""
    env: Mapping[str, str]
    """The environment JupyterHub asks for; the backend adds its own and removes what is not its."""
    base_url: str
    """The server's path, such as ``/user/alice/``: readiness is asked at ``{base_url}api``."""
    pod: Callable[[], Awaitable[Mapping[str, Any]]] | None = None
    """On Kubernetes: makes the pod that the site's settings of KubeSpawner ask for, as the API's
    JSON; called once the start is granted."""
