"""The ledger's tables. Moments are milliseconds since 1970 in UTC, amounts are integers.

A roll-up row is the sum over the segments of one allocation in one quarter hour; a daily row is the
sum over the allocations of one set of dimensions in one day of the site's zone. Both are changed in
the transaction that stores what they sum, and ``verify`` makes them anew from what is kept. Quarter
hours that are dropped are added up by allocation and month.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# SQLite numbers rows itself only where the key is a plain INTEGER.
_Id = BigInteger().with_variant(Integer, "sqlite")


ERASED: Final = b""
"""Instead of a digest that would tell a name to whoever guesses it."""


class Base(DeclarativeBase):
    """The ledger's schema; it may share a database with others, so every name says whose it is."""


MADE_FROM_NAMES: Final = ("imported:", "generated:")
"""How accounts begin that were made for a name, where nobody said whose account it is."""


class Person(Base):
    """An account's opaque id, and the name it is shown by until the person is erased."""

    __tablename__ = "usage_person"

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    account: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str | None] = mapped_column(String(255), index=True)
    erased_at: Mapped[int | None] = mapped_column(BigInteger)
    """A person who was erased keeps no name, also when an agent sends it again."""


class Dimensions(Base):
    """What reports group and filter by; one row a combination that occurred."""

    __tablename__ = "usage_dimensions"

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    site: Mapped[str] = mapped_column(String(255))
    """As it was called then; empty for this ledger's own, before it had a name."""
    person_id: Mapped[int] = mapped_column(ForeignKey("usage_person.id"), index=True)
    group: Mapped[str] = mapped_column(String(512), index=True)
    flavor: Mapped[str] = mapped_column(String(255))
    flavor_type: Mapped[str] = mapped_column(String(8))
    kind: Mapped[str] = mapped_column(String(16))
    provenance: Mapped[str] = mapped_column(String(16))
    """agent, reconciled (closed from the witness), imported, generated (a demonstration's)."""
    simulated: Mapped[bool] = mapped_column(Boolean)

    __table_args__ = (
        UniqueConstraint(
            "site",
            "person_id",
            "group",
            "flavor",
            "flavor_type",
            "kind",
            "provenance",
            "simulated",
            name="uq_usage_dimensions",
        ),
    )


class AllocationRow(Base):
    """A device, or none, assigned to a session, as its grant froze it."""

    __tablename__ = "usage_allocation"

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    key: Mapped[str] = mapped_column(String(40), unique=True)
    """The contract's key, with a prefix for those that no agent sent."""
    dimensions_id: Mapped[int] = mapped_column(ForeignKey("usage_dimensions.id"), index=True)
    session: Mapped[str] = mapped_column(String(64), index=True)
    """For an imported one, its ``external_id``."""
    node: Mapped[str] = mapped_column(String(255))
    device: Mapped[str] = mapped_column(String(255))
    generation: Mapped[int] = mapped_column(Integer)
    model: Mapped[str] = mapped_column(String(255))
    share_u: Mapped[int] = mapped_column(Integer)
    """In 1/10080 of a device; an imported record of several devices has more than 10080."""
    shared: Mapped[bool] = mapped_column(Boolean)
    millicores: Mapped[int] = mapped_column(Integer)
    memory: Mapped[int] = mapped_column(BigInteger)
    catalog: Mapped[str] = mapped_column(String(64))
    first: Mapped[int] = mapped_column(BigInteger)
    """When its usage begins, as far as known."""
    last: Mapped[int] = mapped_column(BigInteger)
    """When its usage ends, as far as known."""
    pruned_before: Mapped[int | None] = mapped_column(BigInteger)
    """Its segments that ended before were compacted or dropped; None where all are kept."""

    __table_args__ = (Index("ix_usage_allocation_span", "first", "last"),)


class Stream(Base):
    """One node's records of one epoch and boot."""

    __tablename__ = "usage_stream"

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    node: Mapped[str] = mapped_column(String(255))
    epoch: Mapped[str] = mapped_column(String(64))
    boot: Mapped[str] = mapped_column(String(64))

    __table_args__ = (UniqueConstraint("node", "epoch", "boot", name="uq_usage_stream"),)


class Watermark(Base):
    """Up to where everything of a writer's epoch has been received."""

    __tablename__ = "usage_watermark"

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    writer: Mapped[str] = mapped_column(String(255))
    """``agent:NODE`` or ``witness:NAME``."""
    epoch: Mapped[str] = mapped_column(String(64))
    contiguous: Mapped[int] = mapped_column(BigInteger)
    beyond: Mapped[list[list[int]]] = mapped_column(JSON)
    """Ranges ``[first, last]`` received above ``contiguous``, in order, apart from each other."""
    updated_at: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (UniqueConstraint("writer", "epoch", name="uq_usage_watermark"),)


class NodeState(Base):
    """What is known of an agent from its last batch."""

    __tablename__ = "usage_node"

    node: Mapped[str] = mapped_column(String(255), primary_key=True)
    epoch: Mapped[str] = mapped_column(String(64))
    boot: Mapped[str] = mapped_column(String(64))
    heartbeat: Mapped[int] = mapped_column(BigInteger)
    sent_at: Mapped[int] = mapped_column(BigInteger)
    received_at: Mapped[int] = mapped_column(BigInteger)
    interval_ms: Mapped[int] = mapped_column(Integer)
    pending: Mapped[int] = mapped_column(BigInteger)


class SegmentRow(Base):
    """A segment as received; dropped after its retention, when the roll-ups stand for it."""

    __tablename__ = "usage_segment"

    stream_id: Mapped[int] = mapped_column(ForeignKey("usage_stream.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    allocation_id: Mapped[int] = mapped_column(ForeignKey("usage_allocation.id"), index=True)
    t0: Mapped[int] = mapped_column(BigInteger)
    dur_ms: Mapped[int] = mapped_column(BigInteger)
    b0: Mapped[int] = mapped_column(BigInteger)
    util_ms: Mapped[int] = mapped_column(BigInteger)
    used_u: Mapped[int | None] = mapped_column(BigInteger)
    occupied_ms: Mapped[int] = mapped_column(BigInteger)
    unobserved_ms: Mapped[int] = mapped_column(BigInteger)
    energy_mj: Mapped[int | None] = mapped_column(BigInteger)
    energy_split: Mapped[bool | None] = mapped_column(Boolean)
    mem_peak: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[bytes] = mapped_column(LargeBinary(32))


class OpenRow(Base):
    """The tail of an allocation that runs: replaced with every heartbeat, in no total."""

    __tablename__ = "usage_open"

    allocation_id: Mapped[int] = mapped_column(ForeignKey("usage_allocation.id"), primary_key=True)
    node: Mapped[str] = mapped_column(String(255), index=True)
    t0: Mapped[int] = mapped_column(BigInteger)
    dur_ms: Mapped[int] = mapped_column(BigInteger)
    util_ms: Mapped[int] = mapped_column(BigInteger)
    used_u: Mapped[int] = mapped_column(BigInteger)
    occupied_ms: Mapped[int] = mapped_column(BigInteger)
    unobserved_ms: Mapped[int] = mapped_column(BigInteger)
    energy_mj: Mapped[int] = mapped_column(BigInteger)
    mem_peak: Mapped[int | None] = mapped_column(BigInteger)


class _Sums:
    """The sums that every roll-up has; ``*_u`` are 1/10080 device-milliseconds."""

    alloc_u: Mapped[int] = mapped_column(BigInteger)
    used_u: Mapped[int] = mapped_column(BigInteger)
    util_u: Mapped[int] = mapped_column(BigInteger)
    """The part of ``alloc_u`` in which utilisation was measured: what ``used_u`` is out of."""
    occupied_u: Mapped[int] = mapped_column(BigInteger)
    unobserved_u: Mapped[int] = mapped_column(BigInteger)
    core_ms: Mapped[int] = mapped_column(BigInteger)
    """Milliseconds times thousandths of a core."""
    energy_mj: Mapped[int] = mapped_column(BigInteger)


class QuarterRow(_Sums, Base):
    """Roll-up of one allocation in one quarter hour."""

    __tablename__ = "usage_quarter"

    allocation_id: Mapped[int] = mapped_column(ForeignKey("usage_allocation.id"), primary_key=True)
    quarter: Mapped[int] = mapped_column(Integer, primary_key=True)
    dur_ms: Mapped[int] = mapped_column(BigInteger)
    mem_peak: Mapped[int | None] = mapped_column(BigInteger)
    version: Mapped[int] = mapped_column(Integer)
    """Grows with every change: late data and corrections show."""

    __table_args__ = (Index("ix_usage_quarter_quarter", "quarter"),)


class MonthRow(_Sums, Base):
    """What one allocation used in one month of UTC in quarter hours that are no longer kept."""

    __tablename__ = "usage_month"

    allocation_id: Mapped[int] = mapped_column(ForeignKey("usage_allocation.id"), primary_key=True)
    month: Mapped[int] = mapped_column(Integer, primary_key=True)
    """Twelve times the year, and 0 to 11."""
    first_quarter: Mapped[int] = mapped_column(Integer)
    """The first quarter hour in it that was used."""
    dur_ms: Mapped[int] = mapped_column(BigInteger)
    mem_peak: Mapped[int | None] = mapped_column(BigInteger)


class DayRow(_Sums, Base):
    """Roll-up of one set of dimensions in one day of the site's zone."""

    __tablename__ = "usage_day"

    day: Mapped[int] = mapped_column(Integer, primary_key=True)
    """``date.toordinal()`` of the local date."""
    dimensions_id: Mapped[int] = mapped_column(ForeignKey("usage_dimensions.id"), primary_key=True)
    version: Mapped[int] = mapped_column(Integer)


class PresenceRow(Base):
    """A device's capacity over time."""

    __tablename__ = "usage_presence"

    stream_id: Mapped[int] = mapped_column(ForeignKey("usage_stream.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    device: Mapped[str] = mapped_column(String(255))
    generation: Mapped[int] = mapped_column(Integer)
    parent: Mapped[str] = mapped_column(String(255))
    model: Mapped[str] = mapped_column(String(255))
    profile: Mapped[str] = mapped_column(String(32))
    weight: Mapped[int] = mapped_column(Integer)
    simulated: Mapped[bool] = mapped_column(Boolean)
    state: Mapped[str] = mapped_column(String(8))
    t0: Mapped[int] = mapped_column(BigInteger, index=True)
    dur_ms: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[bytes] = mapped_column(LargeBinary(32))


class GapRow(Base):
    """A stretch an agent says it does not know about."""

    __tablename__ = "usage_gap"

    stream_id: Mapped[int] = mapped_column(ForeignKey("usage_stream.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    code: Mapped[str] = mapped_column(String(32))
    t0: Mapped[int] = mapped_column(BigInteger)
    t1: Mapped[int] = mapped_column(BigInteger)
    detail: Mapped[str] = mapped_column(Text)
    sha256: Mapped[bytes] = mapped_column(LargeBinary(32))


class QuarantineRow(Base):
    """A record that was set aside: malformed, or in conflict with what has its number."""

    __tablename__ = "usage_quarantine"

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    writer: Mapped[str] = mapped_column(String(255))
    epoch: Mapped[str] = mapped_column(String(64))
    seq: Mapped[int] = mapped_column(BigInteger)
    """0 where the record had no number."""
    code: Mapped[str] = mapped_column(String(32))
    why: Mapped[str] = mapped_column(Text)
    sha256: Mapped[bytes] = mapped_column(LargeBinary(32))
    content: Mapped[str] = mapped_column(Text)
    received_at: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (
        UniqueConstraint("writer", "epoch", "seq", "sha256", name="uq_usage_quarantine"),
    )


class WitnessRow(Base):
    """A session's start and end as the spawner saw them."""

    __tablename__ = "usage_witness"

    session: Mapped[str] = mapped_column(String(64), primary_key=True)
    node: Mapped[str | None] = mapped_column(String(255))
    start: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    """The start as it came, without the person's name; None where only the end has arrived."""
    started_at: Mapped[int | None] = mapped_column(BigInteger, index=True)
    started_boot: Mapped[str | None] = mapped_column(String(64))
    started_b: Mapped[int | None] = mapped_column(BigInteger)
    ended_at: Mapped[int | None] = mapped_column(BigInteger, index=True)
    ended_boot: Mapped[str | None] = mapped_column(String(64))
    ended_b: Mapped[int | None] = mapped_column(BigInteger)
    end_reason: Mapped[str | None] = mapped_column(String(64))
    end_is_estimate: Mapped[bool] = mapped_column(Boolean)
    reconciled_at: Mapped[int | None] = mapped_column(BigInteger, index=True)
    """When coverage was last compared; None where it has not been, or something came since."""


class ReconciledRow(Base):
    """What no agent saw, closed from the witness; withdrawn where an agent's record comes."""

    __tablename__ = "usage_reconciled"

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    allocation_id: Mapped[int] = mapped_column(ForeignKey("usage_allocation.id"), index=True)
    session: Mapped[str] = mapped_column(String(64), index=True)
    t0: Mapped[int] = mapped_column(BigInteger)
    dur_ms: Mapped[int] = mapped_column(BigInteger)


class DiscrepancyRow(Base):
    """Where agent and witness say different things about one session; shown, never resolved."""

    __tablename__ = "usage_discrepancy"

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    session: Mapped[str] = mapped_column(String(64), index=True)
    code: Mapped[str] = mapped_column(String(32))
    agent_says: Mapped[str] = mapped_column(Text)
    witness_says: Mapped[str] = mapped_column(Text)
    found_at: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (UniqueConstraint("session", "code", name="uq_usage_discrepancy"),)


class ImportedRow(Base):
    """What was recorded elsewhere, or generated: the raw truth of allocations no agent saw.

    A span is one record; a generated history may give an allocation several.
    """

    __tablename__ = "usage_imported"

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    site: Mapped[str] = mapped_column(String(255))
    """Where ``external_id`` is unique: a foreign site's name; empty for this ledger's own, whose
    name may become known later or change."""
    external_id: Mapped[str] = mapped_column(String(255))
    allocation_id: Mapped[int] = mapped_column(ForeignKey("usage_allocation.id"), index=True)
    t0: Mapped[int] = mapped_column(BigInteger)
    dur_ms: Mapped[int] = mapped_column(BigInteger)
    util_ms: Mapped[int] = mapped_column(BigInteger)
    used_u: Mapped[int] = mapped_column(BigInteger)
    occupied_ms: Mapped[int] = mapped_column(BigInteger)
    unobserved_ms: Mapped[int] = mapped_column(BigInteger)
    energy_mj: Mapped[int] = mapped_column(BigInteger)
    mem_peak: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[bytes] = mapped_column(LargeBinary(32))
    """Of what the record says: another content under the same ``external_id`` is a conflict. ERASED
    where the person was erased, whose name is in it: who knows the name could find them by it."""

    __table_args__ = (UniqueConstraint("site", "external_id", name="uq_usage_imported"),)


class CompactedRow(Base):
    """What an allocation's segments of one UTC day added up to, once they are no longer kept."""

    __tablename__ = "usage_compacted"

    allocation_id: Mapped[int] = mapped_column(ForeignKey("usage_allocation.id"), primary_key=True)
    day: Mapped[int] = mapped_column(Integer, primary_key=True)
    """Days since 1970 in UTC."""
    segments: Mapped[int] = mapped_column(Integer)
    covered: Mapped[list[list[Any]]] = mapped_column(JSON)
    """Where they lay, ``[boot, begin, end, t0]``: both on the clock since that boot, and the moment
    of the beginning; for a witness's account that comes later still."""
    dur_ms: Mapped[int] = mapped_column(BigInteger)
    util_ms: Mapped[int] = mapped_column(BigInteger)
    used_u: Mapped[int] = mapped_column(BigInteger)
    occupied_ms: Mapped[int] = mapped_column(BigInteger)
    unobserved_ms: Mapped[int] = mapped_column(BigInteger)
    energy_mj: Mapped[int] = mapped_column(BigInteger)


class CorrectionRow(Base):
    """An administrator's change to what an allocation used; appended, never edited."""

    __tablename__ = "usage_correction"

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    allocation_id: Mapped[int] = mapped_column(ForeignKey("usage_allocation.id"), index=True)
    t0: Mapped[int] = mapped_column(BigInteger)
    dur_ms: Mapped[int] = mapped_column(BigInteger)
    sign: Mapped[int] = mapped_column(SmallInteger)
    """1 adds the span, as unobserved allocation; -1 takes away what it held."""
    pieces: Mapped[list[list[int]]] = mapped_column(JSON)
    """What it adds or takes, for each quarter hour: number of the quarter, dur_ms, util_ms, used_u,
    occupied_ms, unobserved_ms, energy_mj; none is negative."""
    author: Mapped[str] = mapped_column(String(255))
    reason: Mapped[str] = mapped_column(Text)
    made_at: Mapped[int] = mapped_column(BigInteger)


class CatalogRow(Base):
    """The dated extracts of the catalog that usage is read against."""

    __tablename__ = "usage_catalog"

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    since: Mapped[int] = mapped_column(BigInteger, index=True)
    snapshot: Mapped[dict[str, Any]] = mapped_column(JSON)

    __table_args__ = (UniqueConstraint("digest", "since", name="uq_usage_catalog"),)


class SettingRow(Base):
    """What the roll-ups depend on, such as the site's zone; a change of it makes them anew."""

    __tablename__ = "usage_setting"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text)
