"""Storing what an agent delivered: each record once, with its roll-ups, in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from arcetri_accounting import killpoints
from arcetri_accounting.contract.units import QUARTER_MS, share_units
from arcetri_accounting.contract.usage import (
    Acknowledgement,
    Allocation,
    Batch,
    Gap,
    Presence,
    Segment,
    Usage,
)
from arcetri_accounting.ledger import reconcile, registry, rollups, tails, watermarks
from arcetri_accounting.ledger.bulk import append, update_by_id
from arcetri_accounting.ledger.database import hold
from arcetri_accounting.ledger.delivery import Delivery, Refusal, refusal
from arcetri_accounting.ledger.quarantine import set_aside
from arcetri_accounting.ledger.registry import Held, Known, Owner
from arcetri_accounting.ledger.rollups import Piece
from arcetri_accounting.ledger.tables import (
    AllocationRow,
    Base,
    GapRow,
    NodeState,
    OpenRow,
    PresenceRow,
    SegmentRow,
    Stream,
)

MAX_PIECES: Final = 50_000
"""Quarter hours that one delivery may touch; what is beyond is left for the next one."""
_MAX_MJ_PER_MS: Final = 100_000
"""No device takes more than 100 kW: more is a counter gone wrong, and would overflow a sum."""
_SILENT_MS: Final = 60_000
_Good = Sequence[tuple[Segment | Presence | Gap, bytes]]


@dataclass(slots=True)
class Stored:
    """What became of a delivery."""

    acknowledgement: Acknowledgement
    segments: int
    gaps: int
    refusals: list[Refusal]
    reconciled: int
    """Spans that had been closed from the witness and were changed by what came."""


def lock_of(node: str) -> str:
    """The name of the lock that whoever changes a node's usage holds."""
    return f"node:{node}"


def writer_of(node: str) -> str:
    """Whose numbers an agent's are."""
    return f"agent:{node}"


def store(session: Session, delivery: Delivery, site: str | None, now: int) -> Stored:
    """Store a delivery, in a writing transaction; the same one again changes nothing.

    Args:
        session: The transaction. It is to be committed before anything is acknowledged.
        delivery: What came.
        site: The site to record; None for what the catalog says.
        now: Milliseconds since 1970.

    Raises:
        Refused: The numbers cannot be those of a spool.
    """
    batch = delivery.batch
    hold(session, lock_of(batch.node))
    mark = watermarks.load(session, writer_of(batch.node), batch.epoch, now)
    streams = _streams(session, batch)
    lost = mark.add_below(batch.kept_from) if batch.kept_from else ()
    new, old, twice = _sorted_out(delivery.good, mark)
    refusals = [*delivery.bad, *twice]
    refusals += _conflicts(session, streams, batch.boot, old)
    new = _bounded(new)

    segments: list[Any] = [one for one in new if one[0].type == "segment"]
    presences: list[Any] = [one for one in new if one[0].type == "presence"]
    gaps: list[Any] = [one for one in new if one[0].type == "gap"]
    spans = _spans([record for record, _ in segments], delivery.tail)
    witnessed = reconcile.lock_sessions(session, batch.node, _sessions(delivery, segments))
    known = _allocations(session, delivery, spans, site)
    segments, impossible = _possible(segments, delivery.allocations, known)
    refusals += impossible
    stream = streams[batch.boot]
    append(session, _table(SegmentRow), _SEGMENT, [_segment(stream, known, s) for s in segments])
    append(session, _table(PresenceRow), _PRESENCE, [_presence(stream, p) for p in presences])
    append(session, _table(GapRow), _GAP, [_gap(stream, g) for g in gaps])
    killpoints.reach("ingest.appended")

    received = [record.seq for record, _ in new]
    mark.add(*received, *(one.seq for one in delivery.bad if one.seq))
    if mark.changed:
        watermarks.store(session, mark, now)
    set_aside(session, writer_of(batch.node), batch.epoch, refusals, now)
    if lost:
        _note_lost(session, batch, lost, now)
    _extend(session, known, segments)
    _heartbeat(session, delivery, known, now)
    pieces = [_piece(known, record) for record, _ in segments]
    withdrawn = reconcile.settle(session, witnessed, now) if witnessed else []
    killpoints.reach("ingest.watermarked")
    terms = {one.id: one.terms for one in known.values()}
    rollups.apply(session, [*pieces, *withdrawn], terms)
    killpoints.reach("ingest.rolled_up")
    return Stored(
        acknowledgement=Acknowledgement(
            epoch=batch.epoch,
            acknowledged=mark.contiguous,
            stored=len(segments) + len(presences) + len(gaps),
            duplicates=len(old),
            quarantined=sorted({one.seq for one in refusals if one.seq}),
        ),
        segments=len(segments),
        gaps=len(gaps) + len(lost),
        refusals=refusals,
        reconciled=len(withdrawn),
    )


def _streams(session: Session, batch: Batch) -> dict[str, int]:
    ours = (Stream.node == batch.node, Stream.epoch == batch.epoch)
    rows = session.execute(select(Stream.boot, Stream.id).where(*ours))
    found = {row.boot: row.id for row in rows}
    if batch.boot not in found:
        values = {"node": batch.node, "epoch": batch.epoch, "boot": batch.boot}
        found[batch.boot] = session.execute(
            insert(Stream).values(values).returning(Stream.id)
        ).scalar_one()
    return found


def _sorted_out(good: _Good, mark: watermarks.Mark) -> tuple[list[Any], list[Any], list[Refusal]]:
    """Those with new numbers, those with known ones, and those at odds within the batch."""
    new: list[Any] = []
    old: list[Any] = []
    twice: list[Refusal] = []
    for one in good:
        record, sha256 = one
        if mark.has(record.seq):
            old.append(one)
        elif not new or new[-1][0].seq != record.seq:
            new.append(one)
        elif new[-1][1] != sha256:
            why = "another record of the batch has this number; the first one counts"
            twice.append(refusal(record, sha256, "conflict", why))
    return new, old, twice


def _bounded(new: list[Any]) -> list[Any]:
    pieces = 0
    for count, (record, _) in enumerate(new):
        if isinstance(record, Segment):
            pieces += 1 + record.dur_ms // QUARTER_MS
            if pieces > MAX_PIECES and count:
                return new[:count]
    return new


def _conflicts(session: Session, streams: dict[str, int], boot: str, old: _Good) -> list[Refusal]:
    """Those with a number that stands for something else; where it is no longer kept, none."""
    if not old:
        return []
    seqs = [record.seq for record, _ in old]
    stored: dict[int, tuple[int, bytes]] = {}
    for row in (SegmentRow, PresenceRow, GapRow):
        columns = select(row.seq, row.stream_id, row.sha256)
        ours = columns.where(row.stream_id.in_(streams.values()))
        if seqs[-1] - seqs[0] < 4 * len(seqs) + 100:
            wanted = [ours.where(row.seq.between(seqs[0], seqs[-1]))]
        else:
            wanted = [
                ours.where(row.seq.in_(seqs[start : start + 400]))
                for start in range(0, len(seqs), 400)
            ]
        for one in wanted:
            for seq, stream, sha256 in session.execute(one):
                stored[seq] = (stream, sha256)
    found = []
    for record, sha256 in old:
        there = stored.get(record.seq)
        if there is not None and there != (streams[boot], sha256):
            why = "another record has this number already; it stays as it is"
            found.append(refusal(record, sha256, "conflict", why))
    return found


def _sessions(delivery: Delivery, segments: _Good) -> set[str]:
    keys = {record.allocation for record, _ in segments if isinstance(record, Segment)}
    return {one.session for key in keys if (one := delivery.allocations.get(key)) is not None}


def _spans(segments: list[Segment], tail: list[Usage]) -> dict[str, tuple[int, int]]:
    """From when to when each allocation is used, by its key on the wire."""
    spans: dict[str, tuple[int, int]] = {}
    for usage in (*segments, *tail):
        key, t0 = usage.allocation, usage.t0
        t1 = t0 + usage.dur_ms
        span = spans.get(key)
        if span is None:
            spans[key] = (t0, t1)
        elif t0 < span[0] or t1 > span[1]:
            spans[key] = (min(span[0], t0), max(span[1], t1))
    return spans


def _allocations(
    session: Session, delivery: Delivery, spans: dict[str, tuple[int, int]], site: str | None
) -> dict[str, Known]:
    """Those that records and the tail mention, by their key on the wire."""
    node = delivery.batch.node
    wanted = {
        key: _held(node, key, delivery.allocations[key], *span, site)
        for key, span in spans.items()
        if key in delivery.allocations
    }
    found = registry.ensure(session, list(wanted.values()), delivery.batch.people)
    return {key: found[held.key] for key, held in wanted.items()}


def _held(node: str, key: str, one: Allocation, first: int, last: int, site: str | None) -> Held:
    owner = Owner(
        one.account, one.group, one.flavor, one.flavor_type, one.kind, "agent", one.simulated
    )
    return Held(
        key=registry.key_of("a", node, key),
        owner=owner,
        session=one.session,
        node=node,
        device=one.device,
        generation=one.generation,
        model=one.model,
        share_u=weight(one.flavor_type, share_units(one.share)),
        shared=one.shared,
        millicores=one.millicores,
        memory=one.memory,
        catalog=one.catalog,
        first=first,
        last=last,
        site=site,
    )


def weight(flavor_type: str, share_u: int) -> int:
    """What an allocation counts in device-hours: nothing where it holds no device."""
    return 0 if flavor_type == "cpu" else share_u


def _possible(
    segments: list[Any], allocations: dict[str, Allocation], known: dict[str, Known]
) -> tuple[list[Any], list[Refusal]]:
    taken: list[Any] = []
    refusals: list[Refusal] = []
    for one in segments:
        record, sha256 = one
        there = known.get(record.allocation)
        if there is None:
            wrong = "is not what its key says" if record.allocation in allocations else "absent"
            why = f"the batch's allocation {record.allocation} is {wrong}, or cannot be read"
            refusals.append(refusal(record, sha256, "unknown_allocation", why))
        elif why := impossible(record, there.terms.share_u):
            refusals.append(refusal(record, sha256, "impossible", why))
        else:
            taken.append(one)
    return taken, refusals


def impossible(usage: Usage, share_u: int) -> str:
    """Why usage cannot be true of an allocation of this share; empty where it can."""
    if (usage.used_u or 0) > share_u * usage.util_ms:
        return f"used_u is more than share x util_ms, {share_u} x {usage.util_ms}"
    if (usage.energy_mj or 0) > _MAX_MJ_PER_MS * (usage.dur_ms + 60_000):
        return f"energy_mj is more than {_MAX_MJ_PER_MS} mJ for each of its milliseconds"
    return ""


def _extend(session: Session, known: dict[str, Known], segments: list[Any]) -> None:
    """Let allocations reach to where what was stored begins and ends."""
    spans = _spans([record for record, _ in segments], [])
    changed = []
    for key, (t0, t1) in spans.items():
        there = known[key]
        if t0 < there.first or t1 > there.last:
            changed.append((there.id, min(t0, there.first), max(t1, there.last)))
    update_by_id(session, _table(AllocationRow), ("id", "first", "last"), sorted(changed))


def _heartbeat(session: Session, delivery: Delivery, known: dict[str, Known], now: int) -> None:
    batch = delivery.batch
    state = session.get(NodeState, batch.node)
    values = {
        "epoch": batch.epoch,
        "boot": batch.boot,
        "heartbeat": batch.heartbeat,
        "sent_at": batch.sent_at,
        "received_at": now,
        "interval_ms": min(batch.interval_ms, 2**31 - 1),
        "pending": min(batch.pending, 2**62),
    }
    if state is None:
        session.execute(insert(NodeState).values(node=batch.node, **values))
    elif not _newer(batch, state, now):
        return
    else:
        session.execute(update(NodeState).where(NodeState.node == batch.node).values(**values))
    session.execute(delete(OpenRow).where(OpenRow.node == batch.node))
    rows = {}
    for usage in delivery.tail:
        there = known.get(usage.allocation)
        if there is not None and not impossible(usage, there.terms.share_u):
            rows[there.id] = (
                *(there.id, batch.node, usage.t0, usage.dur_ms, usage.util_ms),
                *(usage.used_u or 0, usage.occupied_ms, usage.unobserved_ms),
                *(usage.energy_mj or 0, usage.mem_peak),
            )
    append(session, _table(OpenRow), _OPEN, list(rows.values()))
    if rows:
        # An agent that was away may still tell of what has been closed without it.
        tails.take(session, OpenRow.node == batch.node)


def _newer(batch: Batch, state: NodeState, now: int) -> bool:
    if batch.epoch == state.epoch:
        return batch.heartbeat > state.heartbeat
    # An agent that lost its spool lost its count with it, and its clock may have been set.
    return batch.sent_at > state.sent_at or now - state.received_at > _SILENT_MS


def _note_lost(session: Session, batch: Batch, lost: Iterable[tuple[int, int]], now: int) -> None:
    said = ", ".join(f"{begin} to {end - 1}" for begin, end in lost)
    why = f"the agent no longer keeps its records {said}, and they are not here"
    one = Refusal(0, "lost", why[:2000], said.encode()[:32].ljust(32), said[:2000])
    set_aside(session, writer_of(batch.node), batch.epoch, [one], now)


def _piece(known: dict[str, Known], record: Segment) -> Piece:
    return Piece(
        known[record.allocation].id,
        record.t0,
        record.dur_ms,
        record.util_ms,
        record.used_u or 0,
        record.occupied_ms,
        record.unobserved_ms,
        record.energy_mj or 0,
        record.mem_peak,
    )


def _segment(stream: int, known: dict[str, Known], one: tuple[Segment, bytes]) -> tuple[Any, ...]:
    record, sha256 = one
    method = record.energy_method
    return (
        stream,
        record.seq,
        known[record.allocation].id,
        record.t0,
        record.dur_ms,
        record.b0,
        record.util_ms,
        record.used_u,
        record.occupied_ms,
        record.unobserved_ms,
        record.energy_mj,
        None if method is None else method == "split",
        record.mem_peak,
        sha256,
    )


def _presence(stream: int, one: tuple[Presence, bytes]) -> tuple[Any, ...]:
    record, sha256 = one
    return (
        *(stream, record.seq, record.device, record.generation, record.parent, record.model),
        *(record.profile, record.weight, record.simulated, record.state, record.t0),
        *(record.dur_ms, sha256),
    )


def _gap(stream: int, one: tuple[Gap, bytes]) -> tuple[Any, ...]:
    record, sha256 = one
    return (stream, record.seq, record.code, record.t0, record.t1, record.detail, sha256)


def _table(row: type[Base]) -> Any:
    return row.metadata.tables[row.__tablename__]


_SEGMENT: Final = (
    *("stream_id", "seq", "allocation_id", "t0", "dur_ms", "b0", "util_ms", "used_u"),
    *("occupied_ms", "unobserved_ms", "energy_mj", "energy_split", "mem_peak", "sha256"),
)
_PRESENCE: Final = (
    *("stream_id", "seq", "device", "generation", "parent", "model", "profile", "weight"),
    *("simulated", "state", "t0", "dur_ms", "sha256"),
)
_GAP: Final = ("stream_id", "seq", "code", "t0", "t1", "detail", "sha256")
_OPEN: Final = (
    *("allocation_id", "node", "t0", "dur_ms", "util_ms", "used_u", "occupied_ms"),
    *("unobserved_ms", "energy_mj", "mem_peak"),
)
