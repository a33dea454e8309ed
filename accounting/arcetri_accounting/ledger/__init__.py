"""The ledger: keeps each piece of usage once, and the roll-ups that reports read."""
