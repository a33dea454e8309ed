"""Accounting of what sessions hold and use; so far the contract between the parts."""
