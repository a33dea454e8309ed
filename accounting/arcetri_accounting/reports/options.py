"""The options that say what the reports' commands count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click

from arcetri_accounting.ledger.console import DAY, Option

FIRST: Final = click.option(
    "--from", "first", type=DAY, required=True, help="First day, of the site's zone."
)
LAST: Final = click.option("--to", "last", type=DAY, required=True, help="Last day, included.")
SIMULATED: Final = click.option(
    "--simulated",
    type=click.Choice(["exclude", "only"]),
    default="exclude",
    show_default=True,
    help="Simulated devices are never added to real ones.",
)


def by_option(choices: Sequence[str]) -> Option:
    """``--by``; the first choice where nothing is said."""
    return click.option(
        "--by",
        type=click.Choice(choices),
        default=choices[0],
        show_default=True,
        help="What a row is.",
    )
