"""A batch as it goes over the wire, and what can be made of the answer: pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pydantic_core
from pydantic import ValidationError

from arcetri_accounting.contract.usage import Acknowledgement
from arcetri_accounting.spool import Item


@dataclass(frozen=True, slots=True)
class Tail:
    """What runs, as of the last cycle."""

    boot: str
    usages: tuple[dict[str, object], ...] = ()
    allocations: Mapping[str, str] = field(default_factory=dict)
    """Their JSON by key, of all that have a usage."""
    people: Mapping[str, str] = field(default_factory=dict)
    """Names by account, of those who hold them."""


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
    allocations: dict[str, str] = {}
    people: dict[str, str] = {}
    for key, body in attachments.items():
        kept: dict[str, Any] = json.loads(body)
        allocations[key] = json.dumps(kept["allocation"])
        people[kept["account"]] = kept["name"]
    boot = items[0].stream if items else tail.boot
    # The tail is of this boot; while records of another one are sent, it waits.
    usages = tail.usages if boot == tail.boot else ()
    if usages:
        allocations.update(tail.allocations)
        people.update(tail.people)
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
        "people": people,
        "open": usages,
    }
    named = ",".join([f'"{key}":{text}' for key, text in allocations.items()])
    records = ",".join([item.numbered() for item in items])
    rest = f',"allocations":{{{named}}},"records":[{records}]}}'
    # The tail makes it 10 KB and more: the standard library takes twice as long.
    return pydantic_core.to_json(head)[:-1] + rest.encode()


def decode(body: bytes, epoch: str, last_sent: int, last_seq: int) -> Acknowledgement:
    """Read the ledger's answer to a batch.

    What it acknowledges beyond this batch was sent by an earlier life of the agent, and is not
    taken before this one has sent it too.

    Raises:
        Nonsense: It is not the answer to this batch.
    """
    try:
        answer = Acknowledgement.model_validate_json(body)
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
