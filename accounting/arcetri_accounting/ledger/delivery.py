"""What an agent delivered, read record by record; no database. A bad record is set aside alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from arcetri_accounting.contract.usage import (
    MAX_RECORDS,
    Allocation,
    Batch,
    Gap,
    Presence,
    Record,
    Segment,
    Usage,
    digest,
    record_adapter,
)
from arcetri_accounting.ledger.errors import Refused

_MAX_MILLICORES: Final = 10_000_000
_SHOWN_ERRORS: Final = 5
_allocation: Final = TypeAdapter(Allocation)
_usage: Final = TypeAdapter(Usage)


class _Typed(Batch):
    """A batch in which all is as it should be: read in one go."""

    records: list[Record] = Field(default_factory=list, max_length=MAX_RECORDS)  # type: ignore[assignment]


class _Loose(Batch):
    """A batch whose parts are then read one by one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    allocations: dict[str, Any] = Field(default_factory=dict, max_length=MAX_RECORDS)
    open: list[Any] = Field(default_factory=list, max_length=MAX_RECORDS)


class Refusal(NamedTuple):
    """A record that is set aside."""

    seq: int
    """0 where it has none."""
    code: str
    why: str
    sha256: bytes
    content: str


@dataclass(slots=True)
class Delivery:
    """A batch, taken apart."""

    batch: Batch
    """Its ``records`` are not to be used."""
    allocations: dict[str, Allocation]
    tail: list[Usage]
    good: list[tuple[Segment | Presence | Gap, bytes]] = field(default_factory=list)
    """With their digests, in the order of their numbers."""
    bad: list[Refusal] = field(default_factory=list)


def read(body: bytes) -> Delivery:
    """Take a request's body apart.

    Raises:
        Refused: It is no batch at all.
    """
    # PostgreSQL cannot store the character; what holds it is looked at piece by piece.
    if b"\\u0000" not in body:
        try:
            typed = _Typed.model_validate_json(body)
        except ValidationError:
            pass
        else:
            return _typed(typed)
    try:
        loose = _Loose.model_validate_json(body)
    except ValidationError as error:
        raise malformed(error, "batch") from None
    return _loose(loose)


def malformed(error: ValidationError, what: str) -> Refused:
    """The refusal of a body that is not what it should be; it repeats no value of it."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    said = "; ".join(
        f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}"[:200]
        for one in found[:_SHOWN_ERRORS]
    )
    more = f"; and {len(found) - _SHOWN_ERRORS} more" if len(found) > _SHOWN_ERRORS else ""
    return Refused(
        f"The body is no {what} of this version: {said}{more}.",
        code=f"{what}_malformed",
        remedy="Write it as the contract of arcetri_accounting.contract says.",
    )


def refusal(record: BaseModel, sha256: bytes, code: str, why: str) -> Refusal:
    """Set aside a record that could be read."""
    seq = getattr(record, "seq", 0)
    return Refusal(seq, code, why, sha256, record.model_dump_json())


def _typed(batch: _Typed) -> Delivery:
    allocations = {
        key: one
        for key, one in batch.allocations.items()
        if one.key() == key and one.millicores <= _MAX_MILLICORES
    }
    records: Iterable[Any] = batch.records
    good = [(record, digest(record)) for record in records]
    good.sort(key=lambda one: one[0].seq)
    return Delivery(batch, allocations, batch.open, good)


def _loose(batch: _Loose) -> Delivery:
    envelope = [batch.node, batch.boot, batch.epoch, batch.people]
    if has_nul(envelope):
        raise Refused(
            "The batch has a NUL character in its node, boot, epoch or people.",
            code="batch_malformed",
            remedy="Leave it out: text is stored in databases that cannot hold it.",
        )
    delivery = Delivery(batch, {}, [])
    for key, raw in batch.allocations.items():
        one = _read(_allocation, raw)
        if isinstance(one, Allocation) and one.key() == key and one.millicores <= _MAX_MILLICORES:
            delivery.allocations[key] = one
    for raw in batch.open:
        tail = _read(_usage, raw)
        if isinstance(tail, Usage):
            delivery.tail.append(tail)
    for raw in batch.records:
        record = _read(record_adapter, raw)
        if isinstance(record, Segment | Presence | Gap):
            delivery.good.append((record, digest(record)))
        else:
            delivery.bad.append(_set_aside(raw, str(record)))
    delivery.good.sort(key=lambda one: one[0].seq)
    return delivery


def _read(adapter: TypeAdapter[Any], raw: object) -> object:
    if has_nul(raw):
        return "it has a NUL character"
    try:
        return adapter.validate_python(raw, strict=False)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        return "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}"[:200] for one in found[:_SHOWN_ERRORS]
        )


def _set_aside(raw: dict[str, object], why: str) -> Refusal:
    content = json.dumps(raw, sort_keys=True, default=str)
    seq = raw.get("seq")
    usable = isinstance(seq, int) and not isinstance(seq, bool) and 1 <= seq < 2**62
    sha256 = hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()
    return Refusal(seq if usable else 0, "malformed", why, sha256, content)  # type: ignore[arg-type]


def has_nul(value: object) -> bool:
    """Whether a text in it has a NUL character, which PostgreSQL cannot store."""
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any(has_nul(key) or has_nul(one) for key, one in value.items())
    if isinstance(value, list):
        return any(map(has_nul, value))
    return False
