"""``python -m arcetri_spawner.provisioner``."""

from arcetri_spawner.provisioner.cli import main

main()
