"""How the spawner tells the ledger what it starts and ends, and asks it how long sessions last."""

from arcetri_accounting.client.lengths import Heard, PastLengths
from arcetri_accounting.client.witness import Witness

__all__ = ["Heard", "PastLengths", "Witness"]
