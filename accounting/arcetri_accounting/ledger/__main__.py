"""``python -m arcetri_accounting.ledger`` is ``arcetri-ledger``."""

from arcetri_accounting.ledger.cli import main

main()
