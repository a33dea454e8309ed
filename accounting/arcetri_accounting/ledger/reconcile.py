"""Closing from the witness what no agent counted, and taking it back when an agent's record comes.

What is closed is marked ``reconciled``, and nothing of it counts as observed. It is worked out anew
from all that is known whenever something of the session comes, in the transaction that stores it,
so that no total ever has the same time twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from sqlalchemy import delete, exists, insert, or_, select, update
from sqlalchemy.orm import Session

from arcetri_accounting import killpoints
from arcetri_accounting.contract.share import SHARE_UNITS, parse_share
from arcetri_accounting.contract.units import share_units
from arcetri_accounting.ledger import corrections, registry, rollups, tails
from arcetri_accounting.ledger.bulk import upsert
from arcetri_accounting.ledger.coverage import (
    TOLERANCE_MS,
    Granted,
    Seen,
    Verdict,
    compare,
    differences,
)
from arcetri_accounting.ledger.database import Database, hold
from arcetri_accounting.ledger.intervals import Range
from arcetri_accounting.ledger.registry import Held, Owner
from arcetri_accounting.ledger.rollups import Piece
from arcetri_accounting.ledger.tables import (
    AllocationRow,
    CompactedRow,
    Dimensions,
    DiscrepancyRow,
    NodeState,
    OpenRow,
    Person,
    PresenceRow,
    ReconciledRow,
    SegmentRow,
    Stream,
    WitnessRow,
)

PROVENANCE: Final = "reconciled"
ANYWAY_AFTER_MS: Final = 86_400_000
"""After a day an end is closed whatever the agent still keeps: what comes later takes it back."""
_CHUNK: Final = 400
_AT_ONCE: Final = 50


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did."""

    sessions: int
    spans: int
    """Signed pieces of usage that were closed or taken back."""


def run(database: Database, now: int, after_ms: int) -> Outcome:
    """Reconcile all that is due, some sessions of one node in a transaction.

    Args:
        database: The ledger's.
        now: Milliseconds since 1970.
        after_ms: How long an agent is silent before its sessions are closed without it.
    """
    sessions = spans = 0
    for node, names in database.read(lambda session: due(session, now, after_ms)).items():
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]

            def work(session: Session, node: str = node, some: Sequence[str] = some) -> int:
                hold(session, f"node:{node}")
                pieces = settle(session, lock(session, some), now)
                killpoints.reach("reconcile.settled")
                rollups.apply(session, pieces)
                killpoints.reach("reconcile.rolled_up")
                return len(pieces)

            spans += database.write(work)
            sessions += len(some)
    for node in database.read(tails.left_over):

        def clear(session: Session, node: str = node) -> None:
            hold(session, f"node:{node}")
            tails.take(session, OpenRow.node == node)

        database.write(clear)
    return Outcome(sessions, spans)


def due(session: Session, now: int, after_ms: int) -> dict[str, list[str]]:
    """Sessions to reconcile by node: ended, and their agent has said all it knows, or nothing."""
    rows = session.execute(
        select(
            WitnessRow.session, WitnessRow.node, WitnessRow.ended_at, NodeState, WitnessRow.start
        )
        .outerjoin(NodeState, NodeState.node == WitnessRow.node)
        .where(WitnessRow.reconciled_at.is_(None))
        .where(WitnessRow.ended_at.is_not(None), WitnessRow.started_at.is_not(None))
        .order_by(WitnessRow.node, WitnessRow.ended_at, WitnessRow.session)
    )
    found: dict[str, list[str]] = {}
    waiting: dict[str, tuple[str, int, int]] = {}
    for name, node, ended, state, start in rows:
        ended_at = ended or 0
        silent_since = ended_at if state is None else max(ended_at, state.received_at)
        # Heard of since the end, by both clocks, and with nothing left to send.
        since = min(state.sent_at, state.received_at) - ended_at if state else 0
        settled = state is not None and not state.pending and since > 2 * state.interval_ms
        if settled or now - silent_since > after_ms or now - ended_at > ANYWAY_AFTER_MS:
            found.setdefault(node or "", []).append(name)
        elif state is not None and not state.pending and since > 0:
            waiting[name] = (node or "", ended_at, len(start["devices"]) or 1)
    for name in _counted_to_the_end(session, waiting):
        found.setdefault(waiting[name][0], []).append(name)
    return found


def _counted_to_the_end(session: Session, waiting: Mapping[str, tuple[str, int, int]]) -> list[str]:
    """Those of which every device is counted up to the end: nothing more will be told of them.

    Others may be known to their agent and not told yet; to compare them now could show a
    disagreement that there is none.
    """
    names = sorted(waiting)
    reached = dict.fromkeys(names, 0)
    running = exists().where(OpenRow.allocation_id == AllocationRow.id)
    for begin in range(0, len(names), _CHUNK):
        counted = (
            select(AllocationRow.session, AllocationRow.node, AllocationRow.last)
            .join(Dimensions, Dimensions.id == AllocationRow.dimensions_id)
            .where(AllocationRow.session.in_(names[begin : begin + _CHUNK]))
            .where(Dimensions.provenance == "agent", ~running)
        )
        for name, on, last in session.execute(counted):
            node, ended_at, _ = waiting[name]
            reached[name] += on == node and last >= ended_at - TOLERANCE_MS
    return [name for name in names if reached[name] >= waiting[name][2]]


def lock(session: Session, names: Collection[str]) -> list[str]:
    """Keep the witness's account of these sessions as it is until the transaction ends."""
    wanted = select(WitnessRow.session).order_by(WitnessRow.session).with_for_update()
    found: list[str] = []
    ordered = sorted(names)
    for start in range(0, len(ordered), _CHUNK):
        some = WitnessRow.session.in_(ordered[start : start + _CHUNK])
        found += session.scalars(wanted.where(some))
    return found


def lock_sessions(session: Session, node: str, names: Collection[str]) -> list[str]:
    """Lock those of these sessions that were reconciled on this node: they are to be settled."""
    closed = exists().where(ReconciledRow.session == WitnessRow.session)
    wanted = (
        select(WitnessRow.session)
        .where(WitnessRow.node == node)
        .where(or_(WitnessRow.reconciled_at.is_not(None), closed))
        .order_by(WitnessRow.session)
        .with_for_update()
    )
    found: list[str] = []
    ordered = sorted(names)
    for start in range(0, len(ordered), _CHUNK):
        some = WitnessRow.session.in_(ordered[start : start + _CHUNK])
        found += session.scalars(wanted.where(some))
    return found


def settle(session: Session, names: Iterable[str], now: int) -> list[Piece]:
    """Work these sessions out anew; return what changes in the roll-ups.

    The caller holds the lock of their node and has locked their witness rows, and applies the
    pieces in the same transaction.
    """
    pieces: list[Piece] = []
    for name in sorted(names):
        row = session.get_one(WitnessRow, name)
        if row.start is None or row.ended_at is None:
            continue
        seen = _seen(row)
        verdict = _judge(session, row, seen)
        pieces += _close(session, row, seen, verdict, now)
        _show(session, name, verdict, now)
        session.execute(
            update(WitnessRow).where(WitnessRow.session == name).values(reconciled_at=now)
        )
        ours = select(AllocationRow.id).where(AllocationRow.session == name)
        tails.take(session, OpenRow.allocation_id.in_(ours))
    return pieces


def _seen(row: WitnessRow) -> Seen:
    start: dict[str, Any] = row.start or {}
    devices = tuple(one["uuid"] for one in start["devices"])
    return Seen(
        started_at=row.started_at or 0,
        started_boot=row.started_boot or "",
        started_b=row.started_b or 0,
        ended_at=row.ended_at or 0,
        ended_boot=row.ended_boot or "",
        ended_b=row.ended_b or 0,
        end_is_estimate=row.end_is_estimate,
        devices=devices or ("",),
        devices_known=bool(devices) or start["flavor_type"] == "cpu",
    )


def _judge(session: Session, row: WitnessRow, seen: Seen) -> Verdict:
    agents = (
        select(AllocationRow, Dimensions, Person.account)
        .join(Dimensions, Dimensions.id == AllocationRow.dimensions_id)
        .join(Person, Person.id == Dimensions.person_id)
        .where(AllocationRow.session == row.session, Dimensions.provenance == "agent")
    )
    told: list[Granted] = []
    covered: dict[str, list[Range]] = {}
    elsewhere: set[str] = set()
    last: tuple[int, int, int] | None = None
    boots = {seen.started_boot, seen.ended_boot}
    for allocation, terms, account in session.execute(agents):
        told.append(_granted(account, terms, allocation.share_u))
        if allocation.node != row.node:
            # Only the node it ran on can have counted it.
            elsewhere.add(allocation.node)
            continue
        ranges = covered.setdefault(allocation.device, [])
        if allocation.pruned_before is not None:
            ranges += _pruned(session, allocation, allocation.pruned_before, seen, boots)
        segments = (
            select(SegmentRow.stream_id, SegmentRow.seq, SegmentRow.b0, SegmentRow.t0)
            .add_columns(SegmentRow.dur_ms, Stream.boot)
            .join(Stream, Stream.id == SegmentRow.stream_id)
            .where(SegmentRow.allocation_id == allocation.id)
        )
        for stream, seq, b0, t0, dur_ms, boot in session.execute(segments):
            boots.add(boot)
            begin = seen.on_boot_clock(boot, b0, t0)
            ranges.append((begin, begin + dur_ms))
            if last is None or begin + dur_ms > last[0]:
                last = (begin + dur_ms, stream, seq)
    watched = last is not None and _watched(session, seen, *last)
    verdict = compare(seen, covered, watched=watched, one_clock=len(boots) == 1)
    verdict.discrepancies.update(differences(told, _witnessed(row)))
    if elsewhere:
        verdict.discrepancies["node"] = (f"ran on {', '.join(sorted(elsewhere))}", f"{row.node}")
    return verdict


def _granted(account: str, terms: Dimensions, share_u: int) -> Granted:
    return Granted(account, terms.group, terms.flavor, _share(share_u), terms.kind)


def _witnessed(row: WitnessRow) -> Granted:
    start: dict[str, Any] = row.start or {}
    share = _share(_weight(start))
    return Granted(start["account"], start["group"], start["flavor"], share, start["kind"])


def _share(share_u: int) -> str:
    return str(Fraction(share_u, SHARE_UNITS)) if share_u else "no device"


def _weight(start: Mapping[str, Any]) -> int:
    return 0 if start["flavor_type"] == "cpu" else share_units(parse_share(start["share"]))


def _pruned(
    session: Session, allocation: AllocationRow, before: int, seen: Seen, boots: set[str]
) -> list[Range]:
    """Where segments lay that are no longer kept; all up to then where not even that is.

    Adds to ``boots`` those whose clocks say so; an empty one for the wall clock.
    """
    days = select(CompactedRow.covered).where(CompactedRow.allocation_id == allocation.id)
    found = []
    for covered in session.scalars(days):
        for boot, begin, end, t0 in covered:
            boots.add(boot)
            start = seen.on_boot_clock(boot, begin, t0)
            found.append((start, start + end - begin))
    if not found:
        boots.add("")
        start = seen.on_boot_clock("", 0, allocation.first)
        found = [(start, start + max(0, min(before, allocation.last) - allocation.first))]
    return found


def _watched(session: Session, seen: Seen, last: int, stream: int, seq: int) -> bool:
    """Whether the agent looked at devices between its last count and the witness's end."""
    moment = seen.on_wall_clock(last)
    looked = exists().where(
        PresenceRow.stream_id == stream,
        PresenceRow.seq > seq,
        PresenceRow.t0 + PresenceRow.dur_ms > moment,
        PresenceRow.t0 < seen.on_wall_clock(seen.end),
    )
    return last < seen.end and bool(session.scalar(select(looked)))


def _close(
    session: Session, row: WitnessRow, seen: Seen, verdict: Verdict, now: int
) -> list[Piece]:
    wanted = {
        device: {(seen.on_wall_clock(begin), end - begin) for begin, end in gaps}
        for device, gaps in verdict.missing.items()
    }
    there: dict[int, dict[tuple[int, int], int]] = {}
    for one in session.scalars(select(ReconciledRow).where(ReconciledRow.session == row.session)):
        there.setdefault(one.allocation_id, {})[(one.t0, one.dur_ms)] = one.id
    held = [_held(row, seen, device, spans) for device, spans in sorted(wanted.items())]
    known = registry.ensure(session, held, {}) if held else {}
    ids = {
        known[one.key].id: wanted[device] for one, device in zip(held, sorted(wanted), strict=True)
    }
    pieces: list[Piece] = []
    for allocation in sorted(there.keys() | ids.keys()):
        old, new = there.get(allocation, {}), ids.get(allocation, set())
        gone, come = sorted(old.keys() - new), sorted(new - old.keys())
        if not gone and not come:
            continue
        if gone:
            pieces += corrections.withdraw(session, allocation, now)
            numbers = [old[span] for span in gone]
            session.execute(delete(ReconciledRow).where(ReconciledRow.id.in_(numbers)))
        for t0, dur_ms in come:
            values = {"allocation_id": allocation, "session": row.session}
            session.execute(insert(ReconciledRow).values(t0=t0, dur_ms=dur_ms, **values))
        if new:
            session.execute(
                update(AllocationRow)
                .where(AllocationRow.id == allocation)
                .values(first=min(t0 for t0, _ in new), last=max(t0 + dur for t0, dur in new))
            )
        pieces += [_piece(allocation, *span, sign=-1) for span in gone]
        pieces += [_piece(allocation, *span, sign=1) for span in come]
    return pieces


def _piece(allocation: int, t0: int, dur_ms: int, *, sign: int) -> Piece:
    return Piece(allocation, t0, dur_ms, unobserved_ms=dur_ms, sign=sign)


def _held(row: WitnessRow, seen: Seen, device: str, spans: set[tuple[int, int]]) -> Held:
    start: dict[str, Any] = row.start or {}
    given = {one["uuid"]: one for one in start["devices"]}.get(device, {})
    flavor_type = start["flavor_type"]
    simulated = any(one["simulated"] for one in start["devices"])
    first = device == seen.devices[0]
    return Held(
        key=registry.key_of("r", row.session, device),
        owner=Owner(
            account=start["account"],
            group=start["group"],
            flavor=start["flavor"],
            flavor_type=flavor_type,
            kind=start["kind"],
            provenance=PROVENANCE,
            simulated=simulated,
        ),
        session=row.session,
        node=row.node or "",
        device=device,
        generation=1,
        model=given.get("model", ""),
        share_u=_weight(start),
        shared=False,
        millicores=round(start["cpu"] * 1000) if first else 0,
        memory=start["memory"] if first else 0,
        catalog=start["catalog"],
        first=min(t0 for t0, _ in spans),
        last=max(t0 + dur for t0, dur in spans),
    )


def _show(session: Session, name: str, verdict: Verdict, now: int) -> None:
    found = verdict.discrepancies
    ours = DiscrepancyRow.session == name
    session.execute(delete(DiscrepancyRow).where(ours, DiscrepancyRow.code.not_in(found)))
    table = DiscrepancyRow.metadata.tables[DiscrepancyRow.__tablename__]
    columns = ("session", "code", "agent_says", "witness_says", "found_at")
    rows = [(name, code, *found[code], now) for code in sorted(found)]
    upsert(
        session,
        table,
        columns,
        rows,
        lambda insert: insert.on_conflict_do_update(
            index_elements=["session", "code"],
            set_={
                "agent_says": insert.excluded.agent_says,
                "witness_says": insert.excluded.witness_says,
            },
        ),
    )
