"""What turns a grant into a running session; ``base`` is the contract, the rest keeps it."""
