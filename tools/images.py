"""Build images of this repository, try them, and push them where asked.

``python -m tools.images NAME... [--push REGISTRY]``, called by ``make images``. An environment
whose own notebook does not run inside it is not kept, and not pushed. A tag that the registry has
already is never given another content: sessions and notebooks of years ago name it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import click
import yaml

from tests.cluster import images
from tests.cluster.cache import ClusterError

IMAGES = {**images.ALL, **images.ENVIRONMENTS}
NAMES = sorted(IMAGES.keys() - {image.name for image in images.BUILTIN})


@click.command()
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option(
    "--push",
    "registry",
    default="",
    metavar="REGISTRY",
    help="Push to REGISTRY/NAME:TAG, such as registry.example.org/arcetri.",
)
@click.option(
    "--tag", default="", help="Another tag than the newest release's, or the platform's version."
)
@click.option("--plain-http", is_flag=True, help="Talk to the registry without TLS.")
def main(names: tuple[str, ...], registry: str, tag: str, plain_http: bool) -> None:
    """Build each image unless it is built already, and run its notebook inside it."""
    unknown = [name for name in names if name not in NAMES]
    if not names or unknown:
        said = f"There is no image {', '.join(unknown)}. " if unknown else ""
        raise click.ClickException(
            f'{said}Name one or more, with spaces between them: make images ENV="hub science".'
            f" There are {', '.join(NAMES)}."
        )
    try:
        for name in names:
            archive = images.build(IMAGES[name])
            size = archive.stat().st_size / 1e6
            click.echo(f"{name}: {archive} ({size:.0f} MB, layers of its base included)")
            if registry:
                target = f"{registry.rstrip('/')}/{name}:{tag or newest(name)}"
                push(archive, target, plain_http=plain_http)
                click.echo(f"{name}: {target}")
    except ClusterError as error:
        raise click.ClickException(str(error)) from error


def newest(name: str) -> str:
    """The tag of an environment's newest release; for the platform's own images, its version."""
    about = Path(images.PLATFORM / name / "about.yaml")
    if not about.exists():
        return version("arcetri")
    return str(yaml.safe_load(about.read_text(encoding="utf-8"))["releases"][0]["tag"])


def push(archive: Path, target: str, *, plain_http: bool = False) -> None:
    """Push an image, unless the registry has it already.

    Whoever runs this has logged in before (``skopeo login``).

    Raises:
        ClusterError: The tag is another image's, or the registry does not take it.
    """
    if shutil.which("skopeo") is None:
        raise ClusterError("Pushing needs skopeo (Debian: apt-get install skopeo).")
    verify = str(not plain_http).lower()
    there = _skopeo("inspect", "--raw", f"--tls-verify={verify}", f"docker://{target}")
    if there.returncode == 0:
        ours = _skopeo("inspect", "--raw", f"docker-archive:{archive}")
        if _config(ours.stdout) == _config(there.stdout):
            return
        raise ClusterError(
            f"{target} is another image already, which sessions may name for years: push under a"
            " tag of its own (a new release in about.yaml, or TAG=...)."
        )
    if not re.search(r"manifest unknown|name unknown|not found", there.stderr):
        raise ClusterError(f"The registry does not say whether it has {target}: {there.stderr}")
    options = ["--quiet", f"--dest-tls-verify={verify}"]
    pushed = _skopeo("copy", *options, f"docker-archive:{archive}", f"docker://{target}")
    if pushed.returncode != 0:
        raise ClusterError(f"{target} could not be pushed: {pushed.stderr}")


def _config(manifest: str) -> str:
    """The digest of an image's configuration, which names all that is in it."""
    return str(json.loads(manifest)["config"]["digest"])


def _skopeo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["skopeo", *arguments]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


if __name__ == "__main__":
    sys.exit(main(prog_name="make images"))
