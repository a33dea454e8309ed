"""What a ledger is told when it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from arcetri_accounting.client.apiserver import MOUNTED
from arcetri_accounting.contract.usage import MAX_BATCH_BYTES

AUDIENCE = "arcetri-ledger"
"""Whom projected tokens must have been made for."""
DEFAULT_PREFIX = "/services/usage"
DEFAULT_PORT = 8731


ServiceAccount = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*:[a-z0-9][a-z0-9.-]*$")]
"""``NAMESPACE:NAME`` in a cluster."""


class Retention(BaseModel):
    """How long each kind of data is kept; no totals ever change by it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    raw: Literal["keep", "compact", "drop"] = "compact"
    """What becomes of old segments: kept, added up by allocation and UTC day, or dropped."""
    raw_days: Annotated[int, Field(ge=1, le=36_500)] = 90
    quarter_years: Annotated[int, Field(ge=1, le=100)] = 3
    """Roll-ups by quarter hour, and what sessions are listed from; days, and the months of each
    allocation, stay for good."""
    quarantine_days: Annotated[int, Field(ge=1, le=36_500)] = 400
    """Records that were set aside."""


class LedgerSettings(BaseModel):
    """Everything ``serve`` can be told; each has an option and a variable of the command."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    database: str
    credentials: Path | None = None
    """The file with the writers' credentials; without it nobody writes."""
    agent_accounts: tuple[ServiceAccount, ...] = ()
    """Service accounts whose pods write usage, each of the node that it runs on."""
    witness_accounts: dict[ServiceAccount, Annotated[str, Field(min_length=1, max_length=255)]] = (
        Field(default_factory=dict)
    )
    """Service accounts whose pods tell of starts and ends, and as which writer."""
    audience: Annotated[str, Field(min_length=1, max_length=255)] = AUDIENCE
    service_account: Path = MOUNTED
    """The folder with the ledger's own token, by which it asks the API server about others'."""
    prefix: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._~@%-]+)*$")] = DEFAULT_PREFIX
    """Where all paths begin; as JUPYTERHUB_SERVICE_PREFIX, without the last slash."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = DEFAULT_PORT
    site: str | None = None
    """The site to record; None for the one the newest catalog names."""
    reconcile_after_s: Annotated[float, Field(gt=0)] = 900
    """How long an agent is silent before its ended sessions are closed from the witness."""
    reconcile_every_s: Annotated[float, Field(gt=0)] = 10
    prune_every_s: Annotated[float, Field(gt=0)] = 86_400
    retention: Retention = Retention()
    max_body: Annotated[int, Field(ge=1024)] = MAX_BATCH_BYTES
    """Bytes of a request."""
    body_seconds: Annotated[float, Field(gt=0)] = 30
    """How long a writer may take to send one."""
    rate: Annotated[float, Field(gt=0)] = 20
    """Requests a second of one writer, for longer than a moment."""
    burst: Annotated[int, Field(ge=1)] = 60
    """Requests of one writer in a moment."""
    read_rate: Annotated[float, Field(gt=0)] = 10
    """Requests a second of one reader, for longer than a moment."""
    read_burst: Annotated[int, Field(ge=1)] = 120
    """Requests of one reader in a moment."""
    stranger_rate: Annotated[float, Field(gt=0)] = 10
    """Requests a second of one address without a credential that is known, for longer."""
    stranger_burst: Annotated[int, Field(ge=1)] = 200
    """Requests of such an address in a moment."""
    pdf_rate: Annotated[float, Field(gt=0)] = 0.2
    """PDFs a second of one reader; each takes the processor for a while."""
    pdf_burst: Annotated[int, Field(ge=1)] = 10
    """PDFs of one reader in a moment."""
