"""The lease journal: what local mode tells an observer, one JSON object a line.

The writer appends and fsyncs; the observer reads records in the order of ``seq`` and acknowledges
the highest one it has stored. Only acknowledged records of ended leases may ever be dropped. A torn
last line (the writer died while writing) is no record: the writer mends it at its next start.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from arcetri_accounting.contract.numbers import Amount, Cores, Count, Number
from arcetri_accounting.contract.share import Share

JOURNAL_VERSION = 1
JOURNAL_NAME = "leases.jsonl"
"""The journal's file name, in the folder ``journal`` of the state folder."""
ACK_SUFFIX = ".ack"
"""Added to the journal's name: the file with the observer's acknowledgement."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LeasedDevice(_Record):
    """A device that a session holds."""

    uuid: str
    """``GPU-...``, ``MIG-...``, or ``SIM-...`` for a simulated one."""
    model: str
    simulated: bool = False


class LeaseStarted(_Record):
    """A session's process runs and holds these devices (none for a CPU-only session)."""

    v: Literal[1] = 1
    type: Literal["start"] = "start"
    seq: Number
    session: str
    """The session's id, a UUID."""
    account: str
    """The account's opaque id, never its name."""
    username: str
    group: str
    """The charged group's full path, or ``everyone``."""
    kind: Literal["notebook", "batch"] = "notebook"
    flavor: str
    flavor_type: Literal["gpu", "fpga", "cpu"]
    share: Share
    """The flavour's share as frozen in the grant."""
    catalog: str
    """SHA-256 of the catalog the grant was decided on."""
    cpu: Cores
    """Cores of the granted size."""
    memory: Amount
    """Bytes of the granted size."""
    devices: tuple[LeasedDevice, ...]
    pid: Count
    pid_start_ticks: Amount
    """Field 22 of /proc/PID/stat: with it a pid that was used again is told apart."""
    boot_id: str
    at: AwareDatetime
    boottime_ms: Amount
    """CLOCK_BOOTTIME at ``at``, in milliseconds: durations come from it."""


class LeaseEnded(_Record):
    """The session's process is gone and its devices are free."""

    v: Literal[1] = 1
    type: Literal["end"] = "end"
    seq: Number
    session: str
    reason: str
    """A stable code: stopped, exited, killed, idle, not_opened, lifetime, admin, shutdown,
    start_failed, start_interrupted, cancelled, lost (found dead later), preempted, drained,
    maintenance, reclaimed (these four where what it held was wanted back); on a cluster also
    out_of_memory, evicted, node_lost, node_shutdown, deadline."""
    boot_id: str
    at: AwareDatetime
    boottime_ms: Amount
    at_is_estimate: bool = False
    """True where the end was found later (the hub was down) and ``at`` is when it was found."""


JournalRecord = Annotated[LeaseStarted | LeaseEnded, Field(discriminator="type")]

_RECORD: TypeAdapter[LeaseStarted | LeaseEnded] = TypeAdapter(JournalRecord)


class JournalAck(_Record):
    """The observer's acknowledgement, a file beside the journal, replaced atomically."""

    v: Literal[1] = 1
    observer: str
    seq: Amount


def parse_journal_line(line: str | bytes) -> LeaseStarted | LeaseEnded:
    """Read one line of the journal.

    Raises:
        pydantic.ValidationError: The line is not a record of this version.
    """
    return _RECORD.validate_json(line)
