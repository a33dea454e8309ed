"""Requests between being asked and being started: who waits, whose turn it is, and what is told."""

from arcetri_spawner.waiting.model import Asked, Entry, Estimator, Starter, Wait
from arcetri_spawner.waiting.reconciler import Reconciler
from arcetri_spawner.waiting.room import WaitingRoom
from arcetri_spawner.waiting.unopened import Opened, Unopened
from arcetri_spawner.waiting.wanted import Back, Demands, Wanted

__all__ = [
    "Asked",
    "Back",
    "Demands",
    "Entry",
    "Estimator",
    "Opened",
    "Reconciler",
    "Starter",
    "Unopened",
    "Wait",
    "WaitingRoom",
    "Wanted",
]
