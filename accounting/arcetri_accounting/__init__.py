"""Accounting of what sessions hold and use: the contract between the parts, and later agent and ledger."""
