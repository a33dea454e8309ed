"""Who may have what: pure functions over catalog, identity, inventory, live sessions and time."""
