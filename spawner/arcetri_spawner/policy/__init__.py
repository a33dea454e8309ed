"""Who may have what: pure functions over catalog, identity, inventory, live sessions and time."""

from arcetri_spawner.policy.anybody import startable_by_anybody
from arcetri_spawner.policy.decide import authorize, offers, waiting_reason
from arcetri_spawner.policy.explain import explain
from arcetri_spawner.policy.index import is_maintained
from arcetri_spawner.policy.maintained import (
    maintenance_announced,
    maintenance_ends,
    maintenance_now,
)
from arcetri_spawner.policy.options import OPTION_KEYS, parse_options
from arcetri_spawner.policy.situation import refusal_of_stranger

__all__ = [
    "OPTION_KEYS",
    "authorize",
    "explain",
    "is_maintained",
    "maintenance_announced",
    "maintenance_ends",
    "maintenance_now",
    "offers",
    "parse_options",
    "refusal_of_stranger",
    "startable_by_anybody",
    "waiting_reason",
]
