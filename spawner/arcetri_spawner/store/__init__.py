"""What the platform remembers: accounts, numeric ids, requests, leases, sessions, choices."""

from arcetri_spawner.store.records import (
    Account,
    Ended,
    PosixIds,
    PosixNumber,
    RequestRow,
    RequestState,
    SessionRecord,
)
from arcetri_spawner.store.store import PRUNE_BATCH, Store

__all__ = [
    "PRUNE_BATCH",
    "Account",
    "Ended",
    "PosixIds",
    "PosixNumber",
    "RequestRow",
    "RequestState",
    "SessionRecord",
    "Store",
]
