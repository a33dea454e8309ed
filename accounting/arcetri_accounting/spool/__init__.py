"""A durable outbox: what must reach the ledger once, and survives the death of its writer."""

from arcetri_accounting.spool.errors import (
    SpoolBusy,
    SpoolCorrupt,
    SpoolError,
    SpoolFull,
    SpoolLost,
)
from arcetri_accounting.spool.outbox import Epoch, Item, Outbox, Transaction

__all__ = [
    "Epoch",
    "Item",
    "Outbox",
    "SpoolBusy",
    "SpoolCorrupt",
    "SpoolError",
    "SpoolFull",
    "SpoolLost",
    "Transaction",
]
