"""``python -m arcetri_accounting.agent`` is ``arcetri-agent``."""

from arcetri_accounting.agent.cli import main

main()
