"""A person's way to a cluster: ``python -m tests.cluster.command``, called by the Makefile."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import click

from tests.cluster import builds, images, launch
from tests.cluster.cache import ClusterError
from tests.cluster.state import State


class _Group(click.Group):
    """Errors that are meant for people are shown as a sentence."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ClusterError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group)
@click.option("--state", default="mine", show_default=True, help="The cluster's name, or a path.")
@click.pass_context
def main(ctx: click.Context, state: str) -> None:
    """Run a real one-node Kubernetes in a disposable process tree."""
    ctx.obj = launch.place(state)


@main.command()
@click.pass_obj
def up(state: State) -> None:
    """Start a cluster that stays until it is ended."""
    builds.build()
    launch.start(state, say=click.echo)
    name = "" if state.name == "mine" else f" NAME={state.name}"
    click.echo(
        f"The cluster {state.name} is ready; its folder is {state.folder}.\n"
        f'  make cluster-run CMD="kubectl get pods -A"{name}   a command inside\n'
        f"  make cluster-shell{name}                            a shell inside\n"
        f"  make cluster-forward TO=HOST:PORT{name}             a page inside, for a browser here\n"
        f"  make cluster-down{name}                             the end, leaving nothing"
    )


@main.command()
@click.pass_obj
def down(state: State) -> None:
    """End a cluster; nothing of it is left."""
    launch.find(state)
    launch.stop(state)
    click.echo(f"The cluster {state.name} is gone.")


@main.command()
@click.argument("command")
@click.pass_obj
def run(state: State, command: str) -> None:
    """Run a shell command inside."""
    _become(state, ["sh", "-c", command])


@main.command()
@click.pass_obj
def shell(state: State) -> None:
    """Open a shell inside."""
    _become(state, [os.environ.get("SHELL", "sh")])


def _become(state: State, command: list[str]) -> None:
    cluster = launch.find(state)
    sys.stdout.flush()
    os.execvpe(  # noqa: S606  # the words are a list: there is no shell to misread them
        "nsenter", [*cluster.entering(), *command], cluster.environment()
    )


@main.command()
@click.argument("address")
@click.option("--port", default=0, help="The port on this machine; a free one by default.")
@click.pass_obj
def forward(state: State, address: str, port: int) -> None:
    """Let this machine's browser reach HOST:PORT inside, until Ctrl-C."""
    host, _, there = address.rpartition(":")
    if not host or not there.isdecimal():
        raise click.BadParameter("is a name or an address inside and a port, such as 10.96.0.20:80")
    with launch.find(state).forwarded(host, int(there), listen=port) as local:
        click.echo(f"http://127.0.0.1:{local} leads to {address}; Ctrl-C ends it.")
        try:
            subprocess.run(["sleep", "infinity"], check=False)
        except KeyboardInterrupt:
            click.echo("")


@main.command()
@click.argument("name", type=click.Choice(sorted(images.ALL)))
@click.pass_obj
def image(state: State, name: str) -> None:
    """Build an image unless it is cached, and give it to the cluster."""
    reference = launch.find(state).load(images.ALL[name])
    click.echo(f"Pods find it as {shlex.quote(reference)}.")


if __name__ == "__main__":
    main(prog_name="cluster")
