"""What the spawner tells the ledger: starts and ends of sessions, and the catalog's dated extract.

The witness does not see use. From it the ledger closes what an absent agent missed, and shows where
the two disagree.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from arcetri_accounting.contract.journal import LeaseEnded, LeaseStarted
from arcetri_accounting.contract.numbers import Amount, Count, Number
from arcetri_accounting.contract.share import Share
from arcetri_accounting.contract.usage import FlavorType

WALL_CLOCK: Final = "wall"
"""As ``boot_id``, of a witness that has no other clock of the node's: ``boottime_ms`` is then the
wall clock's, in milliseconds since 1970."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FlavorTerms(_Record):
    """What a report needs to know of a flavour."""

    title: str
    type: FlavorType
    share: Share
    memory: Amount = 0
    """Bytes of device memory that a session gets; 0 where the catalog does not say."""


class GroupTerms(_Record):
    """What a report needs to know of a group."""

    leads: tuple[str, ...] = ()
    """Groups whose members read this group's usage."""
    subgroups: bool = False
    """True lets them read that of the groups below it too."""
    quotas: dict[str, Count] = Field(default_factory=dict)
    """Devices at the same time by flavour; a flavour without quota is absent."""
    granted: tuple[str, ...] | None = None
    """Flavours that the group may start, with or without quota; None where it was not said."""

    @property
    def startable(self) -> frozenset[str]:
        """Flavours that the group may start, as far as they are known."""
        if self.granted is not None:
            return frozenset(self.granted)
        return frozenset(name for name, devices in self.quotas.items() if devices > 0)


class CatalogSnapshot(_Record):
    """The part of the catalog that usage is read against; dated by when it began to hold."""

    v: Literal[1] = 1
    digest: Annotated[str, Field(max_length=64)]
    since: AwareDatetime
    site: str
    timezone: str
    admins: tuple[str, ...] = ()
    flavors: dict[str, FlavorTerms] = Field(default_factory=dict)
    groups: dict[str, GroupTerms] = Field(default_factory=dict)


class WitnessedStart(LeaseStarted):
    """A session's start, on a node.

    One that names no devices and has a flavour with one was seen by a witness that does not know
    which: on a cluster only the node does.
    """

    node: str


class WitnessedEnd(LeaseEnded):
    """A session's end, on a node."""

    node: str


class CatalogHolds(_Record):
    """From now on this catalog holds."""

    v: Literal[1] = 1
    type: Literal["catalog"] = "catalog"
    seq: Number
    snapshot: CatalogSnapshot


WitnessEvent = Annotated[WitnessedStart | WitnessedEnd | CatalogHolds, Field(discriminator="type")]


class WitnessBatch(_Record):
    """One delivery of the spawner's; numbered and acknowledged as an agent's is."""

    v: Literal[1] = 1
    writer: Annotated[str, Field(min_length=1, max_length=255)]
    epoch: Annotated[str, Field(min_length=1, max_length=64)]
    events: list[WitnessEvent] = Field(max_length=1000)
