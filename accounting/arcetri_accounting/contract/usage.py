"""What an agent tells the ledger: records that are numbered, and a tail that is not yet cut.

A batch holds records of one node, boot and epoch. The ledger stores each record once, by
``(node, boot, epoch, seq)`` and the record's digest, and answers the highest number up to which it
has everything of that node and epoch; only then may the agent forget.

``open`` is the state of what still runs at the moment of sending: shown to people as running,
replaced by the next batch, never part of a published total. A batch with a lower ``heartbeat`` than
one already seen of that node does not change it.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from arcetri_accounting.contract.numbers import Amount, Count, Generation, Milliseconds, Number
from arcetri_accounting.contract.share import Share

MAX_RECORDS = 5000
"""Records a batch may hold."""
MAX_BATCH_BYTES = 8 * 1024 * 1024

Name = Annotated[str, Field(max_length=255)]
GroupPath = Annotated[str, Field(max_length=512)]
FlavorType = Literal["gpu", "fpga", "cpu"]
Kind = Literal["notebook", "batch"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Allocation(_Record):
    """A device, or none, assigned to a session: what segments belong to, frozen in its grant."""

    session: Annotated[str, Field(min_length=1, max_length=64)]
    device: Name = ""
    """``GPU-...``, ``MIG-...``, ``SIM-...``; empty for a session without accelerator."""
    generation: Generation = 1
    account: Annotated[str, Field(min_length=1, max_length=64)]
    """The person's opaque id."""
    group: GroupPath
    kind: Kind = "notebook"
    flavor: Name
    flavor_type: FlavorType
    share: Share
    catalog: Annotated[str, Field(max_length=64)]
    """SHA-256 of the catalog that the grant was decided on."""
    model: Name = ""
    simulated: bool = False
    shared: bool = False
    """Time-sliced with others: the share is billed, but nothing guarantees it."""
    millicores: Count = 0
    """Granted CPU in 1/1000 core; on the session's first allocation only, so that it adds up."""
    memory: Amount = 0
    """Granted bytes, on the session's first allocation only."""

    def key(self) -> str:
        """The allocation's name on the wire: the same content has the same key."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:32]


class Usage(_Record):
    """What one allocation did in one span of time.

    ``t1`` is ``t0 + dur_ms``: the duration comes from CLOCK_BOOTTIME, and the wall clock only says
    where the span lies. Allocated is the whole of it; the parts need not add up to it, but
    ``occupied_ms + unobserved_ms <= dur_ms`` and ``util_ms + unobserved_ms <= dur_ms``.
    """

    allocation: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    t0: Milliseconds
    dur_ms: Annotated[int, Field(ge=0, le=31 * 86_400_000)]
    b0: Amount
    """CLOCK_BOOTTIME at the beginning, in milliseconds: within a boot it orders what the wall
    clock may not."""
    util_ms: Amount = 0
    """How long utilisation was measured."""
    used_u: Amount | None = None
    """Integral of utilisation in 1/10080 GPU-ms; None where none of it could be measured."""
    occupied_ms: Amount = 0
    """How long a compute process was present."""
    unobserved_ms: Amount = 0
    """How long nothing at all was observed."""
    energy_mj: Amount | None = None
    energy_method: Literal["measured", "split"] | None = None
    """``split``: the parent's energy by weight, an estimate."""
    mem_peak: Amount | None = None
    """Bytes; None where never read."""

    @property
    def t1(self) -> int:
        """The end, in milliseconds since 1970."""
        return self.t0 + self.dur_ms

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.occupied_ms + self.unobserved_ms > self.dur_ms:
            raise ValueError("occupied_ms and unobserved_ms are more than dur_ms")
        if self.util_ms + self.unobserved_ms > self.dur_ms:
            raise ValueError("util_ms and unobserved_ms are more than dur_ms")
        if (self.used_u is None) != (self.util_ms == 0):
            raise ValueError("used_u is there exactly where util_ms is not 0")
        if (self.energy_mj is None) != (self.energy_method is None):
            raise ValueError("energy_mj and energy_method go together")
        return self


class Segment(Usage):
    """A piece of usage that will not change any more."""

    type: Literal["segment"] = "segment"
    seq: Number


class Presence(_Record):
    """A device that was there, or known to be down, for a span of time: capacity's side."""

    type: Literal["presence"] = "presence"
    seq: Number
    device: Annotated[str, Field(min_length=1, max_length=255)]
    generation: Generation = 1
    parent: Name = ""
    """The GPU of a MIG instance; empty for a whole device."""
    model: Name = ""
    profile: Annotated[str, Field(max_length=32)] = ""
    weight: int = Field(ge=0, le=10_080)
    """Of its physical device, in 1/10080: 10080 for a whole one; a GPU in MIG mode has 0, its
    instances have theirs."""
    simulated: bool = False
    state: Literal["up", "down"] = "up"
    t0: Milliseconds
    dur_ms: Annotated[int, Field(ge=0, le=31 * 86_400_000)]
    b0: Amount


class Gap(_Record):
    """What the agent knows that it does not know."""

    type: Literal["gap"] = "gap"
    seq: Number
    code: Literal[
        "spool_lost", "spool_corrupt", "disk_full", "journal_damaged", "clock", "suspended"
    ]
    t0: Milliseconds
    t1: Milliseconds
    detail: Annotated[str, Field(max_length=1000)] = ""


Record = Annotated[Segment | Presence | Gap, Field(discriminator="type")]
record_adapter: TypeAdapter[Segment | Presence | Gap] = TypeAdapter(Record)


class Batch(_Record):
    """One delivery."""

    v: Literal[1] = 1
    node: Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$")]
    boot: Annotated[str, Field(min_length=1, max_length=64)]
    epoch: Annotated[str, Field(min_length=1, max_length=64)]
    """Names one life of the agent's spool; another one after the spool was lost."""
    heartbeat: Amount
    """Grows with every batch of the node, also across restarts."""
    sent_at: Milliseconds
    interval_ms: Annotated[int, Field(ge=1, le=86_400_000)] = 10_000
    """How often the agent samples. It need not tell what runs each time: silence of several is a
    lag."""
    pending: Amount = 0
    """Records of this epoch that the agent still keeps after this batch."""
    kept_from: Amount = 0
    """The lowest number of this epoch that the agent still keeps, in this batch or not; 0 where it
    does not say. What the ledger has not received below it will never come: a ledger restored from
    an older backup notes the hole as lost, and goes on."""
    people: dict[str, str] = Field(default_factory=dict, max_length=10_000)
    """Account names by opaque id, for those the batch mentions."""
    allocations: dict[str, Allocation] = Field(default_factory=dict, max_length=MAX_RECORDS)
    """By key; all that the records and the tail mention."""
    records: list[dict[str, object]] = Field(default_factory=list, max_length=MAX_RECORDS)
    """Each read on its own by ``record_adapter``, so that a bad one is set aside alone."""
    open: list[Usage] = Field(default_factory=list, max_length=MAX_RECORDS)


class Acknowledgement(_Record):
    """The ledger's answer to a batch."""

    v: Literal[1] = 1
    epoch: str
    acknowledged: int
    """Everything up to this number is stored or set aside."""
    stored: int = 0
    duplicates: int = 0
    quarantined: list[int] = Field(default_factory=list)
    """Numbers that were set aside: refused, or in conflict with what is stored."""


def digest(record: Segment | Presence | Gap) -> bytes:
    """SHA-256 of what a record says; the ledger compares it for a number it has already."""
    return hashlib.sha256(record.model_dump_json().encode()).digest()
