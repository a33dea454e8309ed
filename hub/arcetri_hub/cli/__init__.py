"""The ``arcetri`` command."""

from __future__ import annotations

import importlib

import click

_COMMANDS = {
    "database": "arcetri_hub.cli.database:database",
    "up": "arcetri_hub.cli.up:up",
    "prepull": "arcetri_hub.cli.prepull:prepull",
    "profiles": "arcetri_hub.cli.profiles:profiles",
    "queues": "arcetri_hub.cli.queues:queues",
}
"""Where each command lives; imported only when asked for, so that each starts quickly."""


class _LazyGroup(click.Group):
    """A group that imports a command when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, those not yet imported too."""
        return sorted({*super().list_commands(ctx), *_COMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module, and return the command."""
        target = _COMMANDS.get(cmd_name)
        if target is None:
            return super().get_command(ctx, cmd_name)
        module, _, name = target.partition(":")
        command = getattr(importlib.import_module(module), name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{target} is no command")
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="arcetri")
def main() -> None:
    """Share a research institute's GPUs through notebooks."""
