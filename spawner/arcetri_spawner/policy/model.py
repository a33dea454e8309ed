"""What policy decides about, and what it answers. All immutable, all free of I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from uuid import UUID

from arcetri_spawner.catalog.models import FlavorType
from arcetri_spawner.groups import GroupPath


class Standing(StrEnum):
    """What the identity provider last said of a person."""

    ADMITTED = "admitted"
    NOT_ADMITTED = "not_admitted"
    """Suspended, deleted, or the refresh was refused."""
    NEVER_LOGGED_IN = "never_logged_in"
    UNKNOWN = "unknown"
    """The provider gave no answer: running work goes on, nothing new starts."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A person as policy sees them."""

    account_id: str
    """Opaque, stable; see the store's account."""
    name: str
    """The account's name, which is also the JupyterHub name."""
    groups: frozenset[GroupPath]
    standing: Standing = Standing.ADMITTED
    checked_at: datetime | None = None
    """When the provider last answered."""
    display_name: str = ""
    was_admitted: bool = False
    """Whether the provider's last answer admitted them, with these groups."""

    def as_before(self) -> Identity:
        """Who they were when the provider last answered, where it says nothing now.

        That decides who may stand in line and be kept a device, never about a start.
        """
        if self.standing is Standing.UNKNOWN and self.was_admitted:
            return replace(self, standing=Standing.ADMITTED)
        return self


@dataclass(frozen=True, slots=True)
class FlavorInventory:
    """What a backend has of one flavour."""

    total: int
    free: int
    """Devices nobody holds, on places that can start a session now."""
    simulated: bool = False
    rooms: Mapping[str, int] = field(default_factory=dict)
    """By size: for how many more sessions of it there is room, with their devices, cores, memory,
    and what else a session takes; empty where devices are all that counts."""
    nowhere: bool = False
    """Whether no node can start a session of it, whatever its room: there is none, or all are
    cordoned, not ready or not labelled for it."""

    @property
    def startable(self) -> int:
        """How many more sessions would start now, in the size of which most would."""
        return max(self.rooms.values()) if self.rooms else self.free


@dataclass(frozen=True, slots=True)
class QueueBound:
    """How much of a flavour a group's queue admits, whatever the catalog grants."""

    most: int
    """How many sessions the group may hold at the same time; 0 where the queue admits nothing."""
    reason: Reason
    """Why none starts where it admits nothing."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a backend has, at one moment."""

    flavors: dict[str, FlavorInventory]
    as_of: datetime
    stale: bool = False
    """True when the backend could not be asked; numbers are then the last known ones."""
    nodes: bool = False
    """Whether sessions run on nodes of a cluster, rather than on this machine."""
    lends: bool = False
    """Whether the queue lets groups borrow what others leave idle; where it does not, the order of
    asking alone counts, also between groups."""
    environments: frozenset[str] | None = None
    """Environments that the backend can start; None means all of the catalog's."""
    queued: Mapping[tuple[GroupPath, str], QueueBound] = field(default_factory=dict)
    """By group and flavour, where the queue admits less than the catalog grants."""


@dataclass(frozen=True, slots=True)
class LiveSession:
    """A request or session that counts against limits and quota."""

    id: UUID
    account_id: str
    account_name: str
    server_name: str
    group: GroupPath
    flavor: str
    running: bool
    """False while it waits or starts."""
    started: datetime | None = None
    waiting: bool = False
    """True while it is in the queue and holds nothing: it then counts as asked for, not as held."""


class ReasonKind(StrEnum):
    """What a reason does to a start."""

    REFUSE = "refuse"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why not, or why not now. The same object serves page, command line and refusal."""

    code: str
    kind: ReasonKind
    sentence: str
    remedy: str = ""
    """All that would help: another flavour, what the person does, what an admin edits."""
    own: str = ""
    """Of the remedy, what the person does without choosing another flavour; may be empty."""
    endless: bool = False
    """Of a reason to wait: nothing that ends by itself would end it, so that nobody is let wait."""

    @property
    def refuses(self) -> bool:
        """Whether one who asks is told no, rather than let wait."""
        return self.kind is ReasonKind.REFUSE or self.endless


@dataclass(frozen=True, slots=True)
class Options:
    """A person's choice, as it came in and well-formed; None means not chosen."""

    flavor: str | None = None
    group: GroupPath | None = None
    environment: str | None = None
    size: str | None = None


@dataclass(frozen=True, slots=True)
class GroupOffer:
    """One group's side of an offer."""

    group: GroupPath
    title: str
    quota: int | None
    in_use: int
    """Sessions of the whole group on this flavour."""
    limit: int | None
    mine: int
    """Sessions of this person on this flavour, charged to this group."""
    startable: int
    reasons: tuple[Reason, ...] = ()
    """Why this person cannot start it through this group now; empty when they can."""
    waiting: int = 0
    """Requests of the whole group that wait for this flavour."""
    others: int = 0
    """Requests of other groups that wait for it, where the order of asking counts between groups;
    they come first unless their group holds all that it may."""
    borrow: int = 0
    """How many more than its quota the group may hold, where the queue lends; those may be asked
    back."""
    shares: bool = False
    """Whether the group has no quota and shares with others what quotas leave, where the queue
    lends: what it has of that may be asked back for who has less."""

    @property
    def would_borrow(self) -> bool:
        """Whether one that starts now would be borrowed."""
        return bool(self.startable and self.quota is not None and self.in_use >= self.quota)

    @property
    def waitable(self) -> bool:
        """Whether a request charged to this group would wait, and start by itself later."""
        return bool(self.reasons) and not any(reason.refuses for reason in self.reasons)


@dataclass(frozen=True, slots=True)
class Offer:
    """A flavour that this person's groups grant."""

    flavor: str
    title: str
    description: str
    type: FlavorType
    memory: int | None
    share: Fraction
    simulated: bool
    total: int
    free: int
    """How many nobody holds."""
    startable: int
    """How many more of this offer would start now, for this person, in the size of which most
    would; see ``sizes.in_size``."""
    groups: tuple[GroupOffer, ...]
    environments: tuple[str, ...]
    sizes: tuple[str, ...]
    reasons: tuple[Reason, ...] = ()
    """Empty when at least one would start now."""
    alternative: str | None = None
    """Another flavour of theirs that would start now."""
    rooms: Mapping[str, int] = field(default_factory=dict)
    """By size: for how many more there is room, whoever asks; empty where the size is no matter."""
    charged: GroupPath | None = None
    """The group whose side of it this is, where one is chosen; see ``sides.charged_to``."""

    @property
    def sides(self) -> tuple[GroupOffer, ...]:
        """The sides of the groups that may be charged: of the chosen one, or of all."""
        if self.charged is None:
            return self.groups
        return tuple(group for group in self.groups if group.group == self.charged)

    @property
    def ahead(self) -> int | None:
        """How many of one's group would be ahead in line; None where one would not wait.

        Of several groups, the one with the shortest line.
        """
        lines = [group.waiting for group in self.sides if group.waitable]
        return min(lines) if lines and not self.startable else None


@dataclass(frozen=True, slots=True)
class NotOffered:
    """A flavour this person is not offered, and why; only ``explain`` shows it."""

    flavor: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Offers:
    """Everything the spawn page needs to know about choices."""

    offers: tuple[Offer, ...]
    refusals: tuple[Reason, ...] = ()
    """What refuses every start, whatever the choice (not admitted, session limit)."""
    not_offered: tuple[NotOffered, ...] = ()


@dataclass(frozen=True, slots=True)
class ScratchSpace:
    """Space of one session's own, gone at its end."""

    size: int
    """Bytes."""
    storage_class: str | None = None
    fsgroup: bool = False


@dataclass(frozen=True, slots=True)
class MountedVolume:
    """A volume with its templates filled in for one person."""

    name: str
    title: str
    mount: str
    claim: str
    """Empty for scratch."""
    path: str
    read_only: bool
    quota: int | None = None
    scratch: ScratchSpace | None = None
    """Set where it is the session's own and goes with it."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What policy allows, frozen: nothing later widens it."""

    request_id: UUID
    account_id: str
    username: str
    server_name: str
    group: GroupPath
    flavor: str
    flavor_type: FlavorType
    share: Fraction
    environment: str
    size: str
    cpu: float
    memory: int
    """Bytes."""
    shm: int | None
    image: str | None
    interpreter: str | None
    """The environment's ``local``: ``default`` or an absolute path."""
    volumes: tuple[MountedVolume, ...]
    groups: tuple[GroupPath, ...]
    """The person's groups in the catalog, for supplemental ids."""
    catalog_digest: str
    decided_at: datetime
    idle: timedelta
    lifetime: timedelta
    grace: timedelta
    stop: timedelta
    quota: int | None = None
    """The charged group's quota of the flavour when decided; None bounds nothing."""
    user_limit: int | None = None
    sessions_limit: int = 2
    requests_limit: int = 3
    kind: str = field(default="notebook")
    flavor_title: str = ""
    earlier: tuple[UUID, ...] = ()
    """The requests whose place in line this one has, the first one first: their sessions were
    ended because what they held was wanted back."""
