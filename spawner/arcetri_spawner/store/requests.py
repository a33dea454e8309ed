"""Requests, sessions and choices, inside a transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast, get_args
from uuid import UUID

from sqlalchemy import ColumnElement, CursorResult, delete, exists, func, select, update
from sqlalchemy.orm import Session

from arcetri_spawner.details import kept
from arcetri_spawner.errors import Conflict
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy import reasons
from arcetri_spawner.policy.model import Grant, LiveSession
from arcetri_spawner.policy.situation import counting_refusals
from arcetri_spawner.store import grants
from arcetri_spawner.store.records import (
    BEFORE_START,
    Ended,
    RequestRow,
    RequestState,
    SessionRecord,
)
from arcetri_spawner.store.tables import (
    AccountTable,
    Base,
    ChoiceTable,
    LeaseTable,
    RequestTable,
    SessionTable,
)

_STATES: frozenset[str] = frozenset(get_args(RequestState))
_LIVE = RequestTable.state != "ended"


def open_request(db: Session, grant: Grant, now: datetime) -> None:
    """Write a request, unless the person's limits are reached: counted here, where nobody races."""
    if db.get(RequestTable, grant.request_id) is not None:
        return
    if db.get(AccountTable, grant.account_id) is None:
        raise Conflict(
            "The account of this request is not known.",
            code="account_unknown",
            remedy="Log out and log in again: that makes the account.",
        )
    mine = live_sessions(db, grant.account_id)
    for reason in counting_refusals(
        mine, grant.server_name, grant.sessions_limit, grant.requests_limit
    ):
        raise reasons.denied(reason)
    held = [s for s in mine if s.flavor == grant.flavor and s.group == grant.group]
    if grant.user_limit is not None and len(held) >= grant.user_limit:
        title = grant.flavor_title or grant.flavor
        raise reasons.denied(
            reasons.flavor_limit(grant.flavor, title, grant.group, held, grant.user_limit)
        )
    place = 1 + (db.scalar(select(func.max(RequestTable.place))) or 0)
    add(db, grant, "asked", asked=now, now=now, place=place)


def add(
    db: Session, grant: Grant, state: RequestState, *, asked: datetime, now: datetime, place: int
) -> None:
    """Write a request as it is granted, without looking at what else there is."""
    db.add(
        RequestTable(
            id=grant.request_id,
            account_id=grant.account_id,
            username=grant.username,
            server_name=grant.server_name,
            group=grant.group,
            flavor=grant.flavor,
            state=state,
            reason="",
            message="",
            grant=grants.dump(grant),
            asked_at=asked,
            changed_at=now,
            ended_at=None,
            place=place,
        )
    )
    db.flush()


def mark(
    db: Session,
    request_id: UUID,
    state: RequestState,
    reason: str,
    message: str,
    now: datetime,
    details: str = "",
) -> bool:
    """Move a request on; False when it has ended already or does not exist."""
    if state not in _STATES:
        raise ValueError(f"no such state of a request: {state}")
    values: dict[str, Any] = {"state": state, "changed_at": now}
    if reason:
        values["reason"] = reason[:64]
    if message:
        values["message"] = message
    if details:
        values["details"] = kept(details)
    if state == "ended":
        values["ended_at"] = now
    return _update(db, RequestTable, values, RequestTable.id == request_id, _LIVE) == 1


def announce(
    db: Session, request_id: UUID, reason: str, message: str, returns: bool | None
) -> None:
    """Write beforehand how a live request is about to end; empty words take that back."""
    row = db.get(RequestTable, request_id)
    if row is not None and row.state != "ended":
        row.reason, row.message, row.returns = reason[:64], message, returns


def save_session(db: Session, record: SessionRecord) -> None:
    """Write what is known of a session's process, or replace it."""
    db.merge(
        SessionTable(
            id=record.id,
            devices=[dict(device) for device in record.devices],
            pid=record.pid,
            pid_start_ticks=record.pid_start_ticks,
            boot_id=record.boot_id,
            port=record.port,
            base_url=record.base_url,
            state=dict(record.state),
            started_at=record.started,
        )
    )
    db.flush()


def session(db: Session, session_id: UUID) -> SessionRecord | None:
    """Return a session, live or ended."""
    row = db.get(SessionTable, session_id)
    request = db.get(RequestTable, session_id)
    return _session(request, row) if row and request else None


def live_requests(db: Session) -> list[RequestRow]:
    """Return what has not ended, oldest first."""
    query = (
        select(RequestTable, SessionTable)
        .outerjoin(SessionTable, SessionTable.id == RequestTable.id)
        .where(_LIVE)
        .order_by(RequestTable.place, RequestTable.asked_at, RequestTable.id)
    )
    return [
        RequestRow(
            id=request.id,
            grant=grants.load(request.grant),
            state=_state(request.state),
            reason=request.reason,
            message=request.message,
            asked=request.asked_at,
            session=_session(request, row) if row else None,
            admitted=request.admitted_at,
            hold_until=request.hold_until,
            by_itself=request.by_itself,
            returns=request.returns,
        )
        for request, row in db.execute(query)
    ]


def live_sessions(db: Session, account_id: str | None = None) -> list[LiveSession]:
    """Return what counts against limits and quota: everybody's, or one account's."""
    query = (
        select(
            RequestTable.id,
            RequestTable.account_id,
            RequestTable.username,
            RequestTable.server_name,
            RequestTable.group,
            RequestTable.flavor,
            RequestTable.state,
            SessionTable.started_at,
        )
        .outerjoin(SessionTable, SessionTable.id == RequestTable.id)
        .where(_LIVE)
        .order_by(RequestTable.place, RequestTable.asked_at, RequestTable.id)
    )
    if account_id is not None:
        query = query.where(RequestTable.account_id == account_id)
    return [
        LiveSession(
            id=request_id,
            account_id=account,
            account_name=name,
            server_name=server,
            group=GroupPath(group),
            flavor=flavor,
            running=state == "running",
            started=started,
            waiting=state == "waiting",
        )
        for request_id, account, name, server, group, flavor, state, started in db.execute(query)
    ]


def last_ended(db: Session, account_id: str, server_name: str) -> Ended | None:
    """Return how the last session of a server ended."""
    row = db.scalars(
        select(RequestTable)
        .where(
            RequestTable.account_id == account_id,
            RequestTable.server_name == server_name,
            RequestTable.state == "ended",
        )
        .order_by(RequestTable.ended_at.desc())
        .limit(1)
    ).first()
    return _ended(db, row) if row else None


def recent_ends(db: Session, account_id: str) -> list[tuple[str, Ended]]:
    """Return what ended last on any of a person's servers, by server name, the newest first.

    An end that is followed by a later start of its server is past; so is one after which the
    person asked for another session that has ended as well. Two sessions that ran side by side
    are both there.
    """
    ends = (RequestTable.account_id == account_id, RequestTable.state == "ended")
    live = {
        row.server_name: row
        for row in db.scalars(
            select(RequestTable).where(RequestTable.account_id == account_id, _LIVE)
        )
    }
    last_asked = select(func.max(RequestTable.asked_at)).where(*ends).scalar_subquery()
    rows = db.scalars(
        select(RequestTable)
        .where(
            *ends,
            RequestTable.ended_at >= last_asked,
        )
        .order_by(RequestTable.ended_at.desc())
    )
    return [
        (row.server_name, found)
        for row in rows
        if (found := _ended(db, row)) and not _is_past(found.at, live.get(row.server_name))
    ]


def _ended(db: Session, row: RequestTable) -> Ended | None:
    if row.ended_at is None:
        return None
    ran = db.get(SessionTable, row.id) is not None
    had_turn = row.admitted_at is not None
    return Ended(row.reason, row.message, row.ended_at, row.details or "", ran, had_turn)


def _is_past(ended: datetime, live: RequestTable | None) -> bool:
    """Whether an end is none of the last, for what its server has now.

    What waits and was asked for before the end has gone back in line because of it.
    """
    return live is not None and (live.state not in BEFORE_START or live.asked_at >= ended)


def prune_ended(db: Session, before: datetime, limit: int) -> int:
    """Forget requests that ended before a moment, the oldest first; return how many they were."""
    old = (
        db.scalars(
            select(RequestTable.id)
            .where(RequestTable.state == "ended", RequestTable.ended_at < before)
            # What still holds a device is recovery's, however long it has ended.
            .where(~exists().where(LeaseTable.request_id == RequestTable.id))
            .order_by(RequestTable.ended_at)
            .limit(limit)
        )
    ).all()
    db.execute(delete(SessionTable).where(SessionTable.id.in_(old)))
    db.execute(delete(RequestTable).where(RequestTable.id.in_(old)))
    return len(old)


def remember_choice(db: Session, account_id: str, choice: Mapping[str, Any], now: datetime) -> None:
    """Keep what a person chose, instead of what they chose before."""
    values = {"choice": dict(choice), "chosen_at": now}
    if not _update(db, ChoiceTable, values, ChoiceTable.account_id == account_id):
        db.add(ChoiceTable(account_id=account_id, **values))


def last_choice(db: Session, account_id: str) -> dict[str, Any]:
    """Return what a person chose last; empty when nothing yet."""
    row = db.get(ChoiceTable, account_id)
    return dict(row.choice) if row else {}


def _update(
    db: Session, table: type[Base], values: Mapping[str, Any], *where: ColumnElement[bool]
) -> int:
    """Change rows without reading them; return how many there were."""
    # Nothing of them is in the session's memory, which lives no longer than the transaction.
    statement = update(table).where(*where).values(values)
    result = db.execute(statement, execution_options={"synchronize_session": False})
    return int(cast("CursorResult[Any]", result).rowcount)


def _state(state: str) -> RequestState:
    for known in get_args(RequestState):
        if known == state:
            found: RequestState = known
            return found
    raise Conflict(
        "A request is in a state that this version does not know.",
        code="store_too_new",
        remedy="The database was written by a later version of Arcetri: run that version again.",
    )


def _session(request: RequestTable, row: SessionTable) -> SessionRecord:
    return SessionRecord(
        id=row.id,
        username=request.username,
        account_id=request.account_id,
        server_name=request.server_name,
        group=GroupPath(request.group),
        flavor=request.flavor,
        devices=row.devices,
        pid=row.pid,
        pid_start_ticks=row.pid_start_ticks,
        boot_id=row.boot_id,
        port=row.port,
        base_url=row.base_url,
        state=row.state,
        started=row.started_at,
        grant=request.grant,
    )
