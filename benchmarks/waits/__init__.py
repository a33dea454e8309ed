"""How good estimates of waits are: traces with known truth, lived through again."""
