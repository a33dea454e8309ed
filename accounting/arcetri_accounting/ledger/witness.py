"""Storing what the spawner saw: starts and ends of sessions, and the catalogs that held."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import Field, TypeAdapter, ValidationError
from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from arcetri_accounting import killpoints
from arcetri_accounting.contract.units import to_ms
from arcetri_accounting.contract.usage import Acknowledgement
from arcetri_accounting.contract.witness import (
    CatalogHolds,
    CatalogSnapshot,
    WitnessBatch,
    WitnessedEnd,
    WitnessedStart,
    WitnessEvent,
)
from arcetri_accounting.ledger import registry, watermarks, zones
from arcetri_accounting.ledger.bulk import ignore, upsert
from arcetri_accounting.ledger.database import Database, hold
from arcetri_accounting.ledger.delivery import Refusal, has_nul, malformed
from arcetri_accounting.ledger.errors import Refused
from arcetri_accounting.ledger.quarantine import set_aside
from arcetri_accounting.ledger.rollups import ZONE_SETTING, is_zone
from arcetri_accounting.ledger.tables import CatalogRow, SettingRow, WitnessRow

_MAX_EVENTS: Final = 1000
_event: TypeAdapter[WitnessedStart | WitnessedEnd | CatalogHolds] = TypeAdapter(WitnessEvent)


class _Loose(WitnessBatch):
    events: list[dict[str, Any]] = Field(max_length=_MAX_EVENTS)  # type: ignore[assignment]


@dataclass(slots=True)
class Testimony:
    """A witness's batch, taken apart."""

    writer: str
    epoch: str
    events: list[WitnessedStart | WitnessedEnd | CatalogHolds] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    @property
    def has_catalog(self) -> bool:
        """Whether days may have to be made anew, with no other writer beside it."""
        return any(isinstance(event, CatalogHolds) for event in self.events)


def read(body: bytes) -> Testimony:
    """Take a request's body apart; an event that cannot be read is set aside alone.

    Raises:
        Refused: It is no batch at all.
    """
    try:
        batch = _Loose.model_validate_json(body)
    except ValidationError as error:
        raise malformed(error, "witness_batch") from None
    if has_nul([batch.writer, batch.epoch]):
        raise Refused(
            "The batch has a NUL character in its writer or epoch.",
            code="witness_batch_malformed",
            remedy="Leave it out: text is stored in databases that cannot hold it.",
        )
    testimony = Testimony(batch.writer, batch.epoch)
    for raw in batch.events:
        try:
            if has_nul(raw):
                raise ValueError("it has a NUL character")
            event = _event.validate_json(json.dumps(raw))
            _plausible(event)
        except ValidationError as error:
            found = error.errors(include_input=False, include_url=False)[0]
            why = f"{'.'.join(map(str, found['loc']))}: {found['msg']}"[:400]
            testimony.refusals.append(_refusal(raw, "malformed", why))
        except (ValueError, OverflowError) as error:
            testimony.refusals.append(_refusal(raw, "malformed", str(error)[:400]))
        else:
            testimony.events.append(event)
    return testimony


def store(database: Database, testimony: Testimony, now: int) -> Acknowledgement:
    """Store a witness's batch; the same one again changes nothing."""
    answer = database.write(
        lambda session: _store(session, testimony, now), alone=testimony.has_catalog
    )
    killpoints.reach("witness.committed")
    return answer


def _store(session: Session, testimony: Testimony, now: int) -> Acknowledgement:
    writer = f"witness:{testimony.writer}"
    hold(session, writer)
    mark = watermarks.load(session, writer, testimony.epoch, now)
    refusals = list(testimony.refusals)
    stored = duplicates = 0
    names: dict[str, str] = {}
    for event in sorted(testimony.events, key=lambda one: one.seq):
        if mark.has(event.seq):
            duplicates += 1
            continue
        mark.add(event.seq)
        why = _keep(session, event, names)
        if why:
            raw = event.model_dump(mode="json")
            refusals.append(_refusal(raw, "conflict", why))
        else:
            stored += 1
    killpoints.reach("witness.appended")
    registry.people(session, names, rename=True)
    mark.add(*(one.seq for one in testimony.refusals if one.seq))
    if mark.changed:
        watermarks.store(session, mark, now)
    set_aside(session, writer, testimony.epoch, refusals, now)
    killpoints.reach("witness.stored")
    return Acknowledgement(
        epoch=testimony.epoch,
        acknowledged=mark.contiguous,
        stored=stored,
        duplicates=duplicates,
        quarantined=sorted({one.seq for one in refusals if one.seq}),
    )


def _keep(
    session: Session,
    event: WitnessedStart | WitnessedEnd | CatalogHolds,
    names: dict[str, str],
) -> str:
    """Store one event; return why it is at odds with what is there, if it is."""
    if isinstance(event, CatalogHolds):
        keep_catalog(session, event.snapshot)
        return ""
    row = _row(session, event.session)
    if isinstance(event, WitnessedStart):
        names[event.account] = event.username
        # The name is kept with the person alone, where it can be erased.
        said = json.loads(event.model_dump_json(exclude={"seq", "username"}))
        if row.start is not None:
            same = row.start == said
            return "" if same else "the session's start is there already, and says otherwise"
        values: dict[str, Any] = {
            "start": said,
            "node": event.node,
            "started_at": to_ms(event.at),
            "started_boot": event.boot_id,
            "started_b": event.boottime_ms,
        }
    else:
        at = to_ms(event.at)
        if row.ended_at is not None:
            # An end that was seen replaces one that was found later.
            better = row.end_is_estimate and not event.at_is_estimate
            same = (row.ended_at, row.ended_b) == (at, event.boottime_ms)
            if not better:
                return "" if same else "the session's end is there already, and says otherwise"
        values = {
            "ended_at": at,
            "ended_boot": event.boot_id,
            "ended_b": event.boottime_ms,
            "end_reason": event.reason,
            "end_is_estimate": event.at_is_estimate,
        }
        if row.node is None:
            values["node"] = event.node
    values["reconciled_at"] = None
    session.execute(update(WitnessRow).where(WitnessRow.session == event.session).values(**values))
    return ""


def _row(session: Session, name: str) -> WitnessRow:
    wanted = (
        select(WitnessRow)
        .where(WitnessRow.session == name)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    row = session.scalar(wanted)
    if row is None:
        table = WitnessRow.metadata.tables[WitnessRow.__tablename__]
        upsert(session, table, ("session", "end_is_estimate"), [(name, False)], ignore)
        row = session.scalars(wanted).one()
    return row


def keep_catalog(session: Session, snapshot: CatalogSnapshot) -> None:
    """Store a dated extract; the newest one says the site's name and zone.

    The transaction has the database to itself: a change of the zone makes all days anew.
    """
    since = to_ms(snapshot.since)
    newest = session.scalar(select(CatalogRow.since).order_by(CatalogRow.since.desc()).limit(1))
    there = session.scalar(
        select(CatalogRow.id).where(CatalogRow.digest == snapshot.digest, CatalogRow.since == since)
    )
    if there is None:
        said = json.loads(snapshot.model_dump_json())
        values = {"digest": snapshot.digest, "since": since, "snapshot": said}
        session.execute(insert(CatalogRow).values(**values))
    if newest is None or since >= newest:
        _set(session, registry.SITE_SETTING, snapshot.site)
        if zones.change(session, snapshot.timezone):
            _set(session, ZONE_SETTING, snapshot.timezone)


def _set(session: Session, name: str, value: str) -> None:
    upsert(
        session,
        SettingRow.metadata.tables[SettingRow.__tablename__],
        ("name", "value"),
        [(name, value)],
        lambda insert: insert.on_conflict_do_update(
            index_elements=["name"], set_={"value": insert.excluded.value}
        ),
    )


def _plausible(event: WitnessedStart | WitnessedEnd | CatalogHolds) -> None:
    """Refuse what the tables could not hold.

    Raises:
        ValueError: It says what is allowed.
    """
    if not 1 <= event.seq < 2**62:
        raise ValueError("seq is from 1 to 2**62")
    if isinstance(event, CatalogHolds):
        if not is_zone(event.snapshot.timezone):
            raise ValueError("timezone is none that this machine knows, such as Europe/Rome")
        if len(event.snapshot.site) > 255:
            raise ValueError("site has at most 255 characters")
        return
    if not 0 <= event.boottime_ms < 2**62 or event.at.year < 1971 or event.at.year > 9000:
        raise ValueError("at and boottime_ms are moments of a machine's life")
    texts = {"session": 64, "node": 255, "boot_id": 64}
    if isinstance(event, WitnessedStart):
        texts |= {"account": 64, "username": 255, "group": 255, "flavor": 255, "catalog": 64}
        if not 0 <= event.cpu <= 10_000 or not 0 <= event.memory < 2**62:
            raise ValueError("cpu is from 0 to 10000 cores, memory from 0 to 2**62 bytes")
        names = [one.uuid for one in event.devices]
        if len(set(names)) != len(names) or any(
            not 1 <= len(one.uuid) <= 255 or len(one.model) > 255 for one in event.devices
        ):
            raise ValueError("devices are named once each, by at most 255 characters")
    else:
        texts |= {"reason": 64}
    for name, length in texts.items():
        if not len(getattr(event, name)) <= length:
            raise ValueError(f"{name} has at most {length} characters")
    if not event.session:
        raise ValueError("session is empty")


def _refusal(raw: dict[str, Any], code: str, why: str) -> Refusal:
    # A person's name is nothing to keep here.
    kept = {name: value for name, value in raw.items() if name != "username"}
    content = json.dumps(kept, sort_keys=True, default=str)
    seq = raw.get("seq")
    usable = isinstance(seq, int) and not isinstance(seq, bool) and 1 <= seq < 2**62
    sha256 = hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()
    return Refusal(int(str(seq)) if usable else 0, code, why, sha256, content)


__all__: Sequence[str] = ("Testimony", "keep_catalog", "read", "store")
