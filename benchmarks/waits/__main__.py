"""Replays a trace of your own: ``python -m benchmarks.waits TRACE.csv --places 8``."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.waits.replay import replay, score
from benchmarks.waits.traces import BadTrace, read


@click.command()
@click.argument("trace", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--places", required=True, type=click.IntRange(1), help="Sessions there is room for.")
@click.option("--quota", "quotas", multiple=True, metavar="GROUP=N", help="A group's quota.")
def main(trace: Path, places: int, quotas: tuple[str, ...]) -> None:
    """Say how good estimates would have been for the waits of one flavour, in TRACE.

    A CSV file with the columns group, asked, admitted, ended, reason and lifetime.
    """
    try:
        bounds = {group: int(count) for group, _, count in (one.partition("=") for one in quotas)}
    except ValueError:
        raise click.BadParameter("write it as --quota /lab/cms=2") from None
    try:
        looks = list(replay(read(trace, places, bounds)))
    except BadTrace as error:
        raise click.ClickException(str(error)) from None
    if not any(look.ours and look.naive is not None for look in looks):
        raise click.ClickException("nobody waited in it after enough sessions were over")
    found = score(looks)
    click.echo(
        f"looked {found.looks} times at somebody who waited\n"
        f"nothing was said: {found.abstained:.1%}\n"
        f"range held the truth: {found.inside:.1%} (half of them within {found.width:.2f} h)\n"
        f"median error: {found.error:.2f} h; of the mean of past waits: {found.naive:.2f} h,"
        f" less what was waited: {found.less_waited:.2f} h; of an oracle: {found.oracle:.2f} h\n"
        f"gap closed: {found.closed:.1%}, of the sharper mean: {found.closed_of_less_waited:.1%}"
    )


if __name__ == "__main__":
    main()
