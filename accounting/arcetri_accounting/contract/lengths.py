"""How long sessions lasted: what the ledger tells the hub, which estimates waits from it.

Nobody's name is in it, and no account: flavour, group, and how the session ended.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from arcetri_accounting.contract.numbers import Amount, Milliseconds
from arcetri_accounting.contract.usage import FlavorType


class _Record(BaseModel):
    # A ledger of a later version may say more.
    model_config = ConfigDict(frozen=True, extra="ignore")


class SessionLength(_Record):
    """A session that is over."""

    flavor: str
    flavor_type: FlavorType
    group: str
    """The charged group's full path, or ``everyone``."""
    kind: str
    began: Milliseconds
    lasted: Amount
    """Milliseconds."""
    reason: str
    """Why it ended: a code as in the lease journal."""


class SessionLengths(_Record):
    """All sessions that began since a moment and are over, oldest first."""

    v: Literal[1] = 1
    at: Milliseconds
    """When the ledger said so."""
    since: Milliseconds
    """Those that began before are left out, however long they lasted: among them only long ones
    would be found."""
    sessions: tuple[SessionLength, ...] = Field(max_length=100_000)
