"""``arcetri database``: the hub's tables, made ready for an earlier version."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import click

from arcetri_hub.cli.person import settings_of
from arcetri_hub.settings import (
    SETTINGS_VARIABLE,
    Settings,
    SettingsError,
    settings_from_environment,
)
from arcetri_spawner.errors import ArcetriError
from arcetri_spawner.store.migrate import RELEASES, go_back


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def database() -> None:
    """Look after the hub's database."""


@database.command()
@click.argument("release", metavar="VERSION", type=click.Choice(list(RELEASES)))
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    default="state",
    show_default=True,
    help="The state folder of 'arcetri up'; a hub's own settings (ARCETRI_SETTINGS) come first.",
)
def back(release: str, state: Path) -> None:
    """Take the hub's tables back to those of VERSION, whose hub starts on them then.

    While no hub runs; the chart's value database.backTo sees to that. Sessions run on, people and
    what they may are kept, and so are requests. What VERSION has no place for is lost: the order of
    the line, the raw words behind an end.
    """
    try:
        settings = _settings(state)
        _refuse_beside_a_hub(settings)
        go_back(settings.database_url, release)
    except (ArcetriError, SettingsError) as error:
        remedy = getattr(error, "remedy", "")
        raise click.ClickException(" ".join(filter(None, (str(error), remedy)))) from error
    click.echo(f"The tables are those of {release}: go back to it now.")


def _settings(state: Path) -> Settings:
    if os.environ.get(SETTINGS_VARIABLE):
        return settings_from_environment()
    settings = settings_of(state)
    if settings is None:
        raise SettingsError(
            f"{state} is no state folder of a platform, and {SETTINGS_VARIABLE} is not set."
        )
    return settings


def _refuse_beside_a_hub(settings: Settings) -> None:
    address = "127.0.0.1" if settings.hub_ip == "0.0.0.0" else settings.hub_ip  # noqa: S104 - read
    try:
        socket.create_connection((address, settings.hub_port), timeout=5).close()
    except OSError:
        return
    raise SettingsError(
        f"A hub answers at {address}:{settings.hub_port}, and would bring the tables up to date"
        " again. End it first; on a cluster, say it in the chart's value database.backTo."
    )
