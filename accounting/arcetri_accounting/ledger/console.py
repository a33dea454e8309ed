"""What commands share: options that several of them have, and tables for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import click

DAY: Final = click.DateTime(formats=["%Y-%m-%d"])

Option = Callable[[Any], Any]


def with_options(*options: Option) -> Callable[[Any], Any]:
    """Give a command options, which its help shows in this order."""

    def give(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return give


def style_option(*styles: str, help: str | None = None) -> Option:  # noqa: A002 - as Click's
    """``--format``; the first of its styles is what is written where nothing is said."""
    return click.option(
        "--format",
        "style",
        type=click.Choice(styles),
        default=styles[0],
        show_default=True,
        help=help,
    )


def printable(text: str) -> str:
    """A text that cannot move a terminal's cursor, however it came into the ledger."""
    return "".join(character if character.isprintable() else "?" for character in text)


def aligned(lines: Sequence[Sequence[str]], texts: int | None = None) -> list[str]:
    """Lines of cells as columns.

    Args:
        lines: Each with as many cells.
        texts: So many columns begin at their left; the others are numbers, which end at their
            right. None means all.
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    left = len(widths) if texts is None else texts
    return [
        "  ".join(
            cell.ljust(width) if at < left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
