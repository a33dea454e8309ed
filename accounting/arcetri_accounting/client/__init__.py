"""How the spawner tells the ledger what it starts and ends."""

from arcetri_accounting.client.witness import Witness

__all__ = ["Witness"]
