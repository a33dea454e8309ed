"""``arcetri prepull``: the catalog's images on a cluster's nodes, before anybody asks for them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from arcetri_spawner.catalog import CatalogHolder
from arcetri_spawner.errors import ArcetriError

if TYPE_CHECKING:
    from arcetri_spawner.prepuller.status import OnNode
    from arcetri_spawner.prepuller.wanted import Prepulling

_profiles = click.option(
    "--profiles",
    type=click.Path(path_type=Path),
    required=True,
    help="The catalog.",
)
_namespace = click.option(
    "--namespace", required=True, help="Where the pods that pull are: not where sessions run."
)
_release = click.option(
    "--release",
    required=True,
    help="The installation, such as the chart's release; others' objects are left alone.",
)


def _pairs(_context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> Any:
    for text in texts:
        if not text.partition("=")[0] or "=" not in text:
            raise click.BadParameter(f"{text!r} is no KEY=VALUE", param=option)
    return dict(text.split("=", 1) for text in texts)


def _settings(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say what the DaemonSets are like."""
    for option in (
        click.option(
            "--toleration",
            "tolerations",
            multiple=True,
            metavar="KEY",
            help="A taint that is tolerated whatever the flavour, as in KubeSpawner.tolerations.",
        ),
        click.option(
            "--node",
            "nodes",
            multiple=True,
            metavar="KEY=VALUE",
            callback=_pairs,
            help="A label that nodes need whatever the flavour, as in KubeSpawner.node_selector.",
        ),
        click.option(
            "--pull-secret",
            "pull_secrets",
            multiple=True,
            metavar="NAME",
            help="A Secret of the namespace by which private images are pulled.",
        ),
        _release,
        _namespace,
        _profiles,
    ):
        command = option(command)
    return command


class _Plain(yaml.SafeDumper):
    """Writes out what occurs twice."""

    def ignore_aliases(self, data: object) -> bool:
        """Always."""
        del data
        return True


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def prepull() -> None:
    """Have the catalog's images on the nodes that may run them."""


@prepull.command()
@_settings
def show(profiles: Path, **options: Any) -> None:
    """Print the DaemonSets that a catalog makes, as YAML, without a cluster."""
    from arcetri_spawner.prepuller.wanted import wanted

    with _plainly():
        catalog = CatalogHolder(profiles).current.catalog
    manifests = wanted(catalog, _prepulling(**options)).values()
    click.echo(yaml.dump_all(manifests, Dumper=_Plain, sort_keys=False), nl=False)


@prepull.command()
@_settings
@click.option(
    "--owner",
    default="",
    metavar="CONFIGMAP",
    help="A ConfigMap of the namespace: when it goes, the DaemonSets go too.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="Where metrics are served, at all addresses; 0 serves none.",
)
def run(profiles: Path, owner: str, port: int, **options: Any) -> None:
    """Keep the cluster as the catalog wants it, and follow the catalog as it changes.

    Finds the API server as the pod it runs in, else as KUBECONFIG says. While the catalog cannot be
    used, the last good one counts; before there was one, nothing is made and nothing removed.
    """
    from arcetri_accounting.logs import configure_logs
    from arcetri_spawner.prepuller import running

    configure_logs()
    with _plainly():
        asyncio.run(
            running.run(running.Running(profiles, _prepulling(**options), owner=owner, port=port))
        )


@prepull.command()
@_namespace
@_release
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print it.",
)
def status(namespace: str, release: str, form: str) -> None:
    """Print which node has which image, and why one has not.

    Exit status: 1 where an image cannot be pulled, 0 otherwise.
    """
    with _plainly():
        nodes = asyncio.run(_nodes(namespace, release))
    if form == "json":
        click.echo(json.dumps([asdict(one) for one in nodes], indent=2))
    else:
        click.echo(render(nodes), nl=False)
    sys.exit(1 if any(one.state == "failed" for one in nodes) else 0)


def render(nodes: tuple[OnNode, ...]) -> str:
    """Each image with its nodes, in words."""
    lines = []
    for image, found in groupby(nodes, lambda one: one.image):
        each = list(found)
        present = sum(one.state == "present" for one in each)
        lines.append(f"{image}: on {present} of {len(each)} nodes")
        lines += [f"  {one.node}: {_words(one)}" for one in each if one.state != "present"]
    return "".join(f"{line}\n" for line in lines) or "No image is pulled beforehand.\n"


def _words(one: OnNode) -> str:
    if one.state == "pulling":
        return "pulling"
    return f"[{one.code}] {one.sentence}"


def _prepulling(**options: Any) -> Prepulling:
    from arcetri_spawner.prepuller.wanted import Prepulling

    return Prepulling(**options)


async def _nodes(namespace: str, release: str) -> tuple[OnNode, ...]:
    from arcetri_spawner.backends.kubernetes.api import ApiAway, ApiRefused
    from arcetri_spawner.backends.kubernetes.connecting import connect
    from arcetri_spawner.prepuller.status import on_nodes, selector_of

    api = await connect()
    try:
        pods = await api.get(
            f"/api/v1/namespaces/{namespace}/pods", labelSelector=selector_of(release)
        )
    except ApiAway as error:
        raise ArcetriError(f"The cluster's API server does not answer: {error}.") from error
    except ApiRefused as error:
        raise ArcetriError(f"The cluster does not say: {error.message}") from error
    finally:
        await api.close()
    return on_nodes(pods["items"])


@contextlib.contextmanager
def _plainly() -> Iterator[None]:
    """Say what a person can mend as a sentence, without a traceback."""
    try:
        yield
    except ArcetriError as error:
        raise click.ClickException(" ".join(filter(None, (str(error), error.remedy)))) from error
