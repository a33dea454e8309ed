"""How long a request will probably wait. Pure: no I/O, the same answer to the same question."""

from arcetri_spawner.estimates.lengths import Laws, Lengths
from arcetri_spawner.estimates.model import ExpectedWait
from arcetri_spawner.estimates.situation import (
    Line,
    Order,
    PastSession,
    RunningSession,
    WaitingRequest,
)
from arcetri_spawner.estimates.waits import expected_waits

__all__ = [
    "ExpectedWait",
    "Laws",
    "Lengths",
    "Line",
    "Order",
    "PastSession",
    "RunningSession",
    "WaitingRequest",
    "expected_waits",
]
