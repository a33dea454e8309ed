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
from arcetri_spawner.store.store import Store

__all__ = [
    "Account",
    "Ended",
    "PosixIds",
    "PosixNumber",
    "RequestRow",
    "RequestState",
    "SessionRecord",
    "Store",
]
