"""Who may have what: pure functions over catalog, identity, inventory, live sessions and time."""

from arcetri_spawner.policy.decide import authorize, offers, waiting_reason
from arcetri_spawner.policy.explain import explain
from arcetri_spawner.policy.options import OPTION_KEYS, parse_options

__all__ = ["OPTION_KEYS", "authorize", "explain", "offers", "parse_options", "waiting_reason"]
