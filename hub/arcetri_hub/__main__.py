"""``python -m arcetri_hub`` is the ``arcetri`` command."""

from arcetri_hub.cli import main

main(prog_name="arcetri")
