"""A batch as it goes over the wire, and what can be made of the answer: pure."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import pydantic_core
from pydantic import ValidationError

from arcetri_accounting.contract.usage import Acknowledgement
from arcetri_accounting.spool import Item


@dataclass(frozen=True)
class Holders:
    """What usages are of; the same object for as long as nothing of it is another."""

    allocations: Mapping[str, str] = field(default_factory=dict)
    """JSON by key, of all that have a usage."""
    people: Mapping[str, str] = field(default_factory=dict)
    """Names by account, of those who hold them."""

    @cached_property
    def json(self) -> bytes:
        """The members of a batch that say this: some 20 KB, the same at nearly every cycle."""
        named = ",".join(f'"{key}":{text}' for key, text in self.allocations.items())
        people = json.dumps(dict(self.people))
        return f'"people":{people},"allocations":{{{named}}}'.encode()


NOBODY: Final = Holders()


@dataclass(frozen=True, slots=True)
class Tail:
    """What runs, as of the last cycle."""

    boot: str
    usages: Sequence[dict[str, object]] = ()
    holders: Holders = NOBODY


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a batch says beside its records."""

    node: str
    epoch: str
    heartbeat: int
    sent_at: int
    interval_ms: int
    pending: int
    kept_from: int
    """The lowest number that is still kept."""


class Nonsense(Exception):
    """An answer that no ledger gives."""


def attachment(allocation: str, account: str, name: str) -> str:
    """What is kept beside records for their allocation, given as JSON."""
    return (
        f'{{"allocation":{allocation},"account":{json.dumps(account)},"name":{json.dumps(name)}}}'
    )


def encode(
    envelope: Envelope, items: Sequence[Item], attachments: dict[str, str], tail: Tail
) -> bytes:
    """The batch's JSON. Records were made JSON when they were cut, and are not read again."""
    boot = items[0].stream if items else tail.boot
    # The tail is of this boot; while records of another one are sent, it waits.
    usages = tail.usages if boot == tail.boot else ()
    holders = tail.holders if usages else NOBODY
    if attachments:
        holders = _joined(holders, attachments)
    head = {
        "v": 1,
        "node": envelope.node,
        "boot": boot,
        "epoch": envelope.epoch,
        "heartbeat": envelope.heartbeat,
        "sent_at": envelope.sent_at,
        "interval_ms": envelope.interval_ms,
        "pending": envelope.pending,
        "kept_from": envelope.kept_from,
        "open": usages,
    }
    records = ",".join([item.numbered() for item in items])
    # The tail makes it 10 KB and more: the standard library takes twice as long.
    start = pydantic_core.to_json(head)[:-1]
    return b"".join((start, b",", holders.json, b',"records":[', records.encode(), b"]}"))


def _joined(holders: Holders, attachments: Mapping[str, str]) -> Holders:
    allocations: dict[str, str] = {}
    people: dict[str, str] = {}
    for key, body in attachments.items():
        kept: dict[str, Any] = json.loads(body)
        allocations[key] = json.dumps(kept["allocation"])
        people[kept["account"]] = kept["name"]
    return Holders({**allocations, **holders.allocations}, {**people, **holders.people})


def decode(body: bytes, epoch: str, last_sent: int, last_seq: int) -> Acknowledgement:
    """Read the ledger's answer to a batch.

    What it acknowledges beyond this batch was sent by an earlier life of the agent, and is not
    taken before this one has sent it too.

    Raises:
        Nonsense: It is not the answer to this batch.
    """
    try:
        answer = _read(body)
    except ValidationError as error:
        raise Nonsense(f"the answer is no acknowledgement: {error.errors()[0]['msg']}") from None
    if answer.epoch != epoch:
        raise Nonsense("the answer is for another epoch")
    if answer.acknowledged < 0:
        raise Nonsense("the answer acknowledges a negative number")
    if answer.acknowledged > last_seq:
        raise Nonsense(
            f"the answer acknowledges {answer.acknowledged}, and {last_seq} is the last record:"
            " the ledger is another one, or this spool was put back from a copy"
        )
    if answer.acknowledged > last_sent:
        return answer.model_copy(update={"acknowledged": last_sent})
    return answer


@functools.lru_cache(maxsize=1)
def _read(body: bytes) -> Acknowledgement:
    # While nothing but tails is sent, the same answer comes again and again.
    return Acknowledgement.model_validate_json(body)
