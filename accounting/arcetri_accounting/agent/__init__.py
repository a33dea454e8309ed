"""The agent: what each session holds on this node, and how it is used, told to the ledger once."""
