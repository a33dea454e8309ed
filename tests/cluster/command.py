"""A person's way to a cluster: ``python -m tests.cluster.command``, called by the Makefile."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import click
import yaml

from tests.cluster import builds, images, launch
from tests.cluster import kueue as real_kueue
from tests.cluster.cache import ClusterError
from tests.cluster.pods import simulated_node
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
    begin = time.monotonic()
    builds.build(extras=False)
    built = time.monotonic()
    launch.start(state, say=click.echo)
    took = f"{time.monotonic() - built:.0f} s after {built - begin:.0f} s of building"
    name = "" if state.name == "mine" else f" NAME={launch.called(state)}"
    click.echo(
        f"The cluster {state.name} is ready ({took}); its folder is {state.folder}.\n"
        f'a command inside:     make cluster-run CMD="kubectl get pods -A"{name}\n'
        f"a shell inside:       make cluster-shell{name}\n"
        f"one of the images:    make cluster-image IMAGE=minimal{name}\n"
        f"a page for a browser: make cluster-forward TO=HOST:PORT{name}\n"
        f"the end:              make cluster-down{name}"
    )


@main.command()
@click.pass_obj
def down(state: State) -> None:
    """End a cluster, or clear up after one that was killed; nothing of it is left."""
    if not launch.left(state):
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
@click.argument("addresses")
@click.option("--port", default=0, help="The port on this machine; a free one by default.")
@click.pass_obj
def forward(state: State, addresses: str, port: int) -> None:
    """Let this machine's browser reach each HOST:PORT inside, until Ctrl-C.

    NAMESPACE/KIND/NAME:PORT is what ``kubectl port-forward`` reaches of a pod, a deployment or a
    service, also what listens on a pod's loopback alone; by default at the same port here, with
    NAMESPACE/KIND/NAME:HERE:PORT at another.
    """
    cluster = launch.find(state)
    with contextlib.ExitStack() as ways:
        for address in addresses.split():
            host, _, there = address.rpartition(":")
            namespace, _, target = host.partition("/")
            target, _, own = target.partition(":")
            if not host or not (there + own).isdecimal():
                raise click.BadParameter(
                    "is a name or an address inside and a port, such as 10.96.0.20:80"
                )
            listen = port or (int(own or there) if target else 0)
            way = (
                cluster.port_forwarded(namespace, target, int(there), listen=listen)
                if target
                else cluster.forwarded(host, int(there), listen=listen)
            )
            try:
                local = ways.enter_context(way)
            except OSError as error:
                raise ClusterError(
                    f"Port {listen} of this machine cannot be had ({error.strerror}): choose"
                    " another with PORT=..."
                ) from error
            click.echo(f"http://127.0.0.1:{local} leads to {address}.")
        click.echo("Ctrl-C ends it.")
        try:
            subprocess.run(["sleep", "infinity"], check=False)
        except KeyboardInterrupt:
            click.echo("")


@main.command()
@click.argument("names")
@click.pass_obj
def image(state: State, names: str) -> None:
    """Build images unless they are cached, and give them to the cluster."""
    cluster = launch.find(state)
    unknown = sorted(set(names.split()) - images.ALL.keys())
    if unknown or not names.split():
        there_are = ", ".join(sorted(images.ALL))
        raise click.BadParameter(f"{', '.join(unknown) or 'that'} is no image of {there_are}")
    for name in names.split():
        click.echo(f"Pods find it as {shlex.quote(cluster.load(images.ALL[name]))}.")


@main.command()
@click.pass_obj
def kueue(state: State) -> None:
    """Build Kueue unless it is cached, and install it."""
    cluster = launch.find(state)
    builds.build()
    real_kueue.install(cluster)
    click.echo(f"Kueue answers on the cluster {state.name}.")


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_obj
def simulate(state: State, file: Path) -> None:
    """Add the simulated nodes of a file: of each its labels, and its resources."""
    cluster = launch.find(state)
    nodes = [
        simulated_node(name, one["resources"], {"kubernetes.io/os": "linux", **one["labels"]})
        for name, one in yaml.safe_load(file.read_text(encoding="utf-8")).items()
    ]
    cluster.simulate(*nodes)
    click.echo(f"{len(nodes)} simulated nodes are ready.")


if __name__ == "__main__":
    main(prog_name="cluster")
