"""Images of the cluster: built from Containerfiles with buildah, kept by what they are made from.

No registry is asked for anything: the first image below all others is Debian itself, put together
by mmdebstrap, and the cluster is given the images as files.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tests.cluster import builds, cache
from tests.cluster.configuration import CONTAINERD_SOCKET, PAUSE_IMAGE
from tests.cluster.pipsettings import secrets

OWN = Path(__file__).parent / "images"
ROOT = Path(__file__).parents[2]
PLATFORM = ROOT / "images"
"""The images that this repository publishes."""
PACKAGES = ("hub", "spawner", "accounting")
"""Folders of the wheel's packages."""
SUITE = "trixie"
PREFIX = "localhost/arcetri-test"


@dataclass(frozen=True, slots=True)
class Image:
    """How an image is made."""

    name: str
    folder: Path
    """Its Containerfile and what that copies."""
    base: Image | None = None
    argument: str = ""
    """The build argument that names the base."""
    stage: str = ""
    """Which of the Containerfile's stages it is; the last one by default."""
    tool: Image | None = None
    """Writes its bill of materials, while it is built."""
    smoke: str = ""
    """A notebook inside that has to run before the image is any good."""
    answers: tuple[tuple[str, ...], ...] = ()
    """Commands that have to end well inside, as the image's own account."""
    prepare: Callable[[Path], None] | None = None
    """Puts what is not in the repository into the build's folder."""
    made_from: Callable[[], list[str | Path]] | None = None
    """What of that may change."""

    def digest(self) -> str:
        """What it is made from, as one word."""
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        parts: list[bytes | str | Path] = [self.name]
        parts += [self.stage] if self.stage else []
        parts += [p for path in files for p in (str(path.relative_to(self.folder)), path)]
        parts += self.made_from() if self.made_from else []
        parts += [image.digest() for image in self.below]
        parts += [self.smoke] if self.smoke else []
        parts += [word for command in self.answers for word in command]
        return cache.digest(parts)

    @property
    def below(self) -> tuple[Image, ...]:
        """The images that its Containerfile names."""
        return tuple(image for image in (self.base, self.tool) if image)

    @property
    def reference(self) -> str:
        """What pods call it."""
        return PAUSE_IMAGE if self.name == "pause" else f"{PREFIX}/{self.name}:1"

    @property
    def archive(self) -> Path:
        """The file that has it, once it is built."""
        return cache.root() / "images" / f"{self.name}-{self.digest()}.tar"


def _compile_pause(folder: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise cache.ClusterError("The pause image needs a C compiler (apt-get install gcc).")
    command: list[str | Path] = [
        compiler,
        "-Os",
        "-static",
        "-s",
        "-o",
        folder / "pause",
        folder / "pause.c",
    ]
    subprocess.run(command, check=True)


def _copy_coredns(folder: Path) -> None:
    shutil.copy2(builds.programs()["coredns"], folder / "coredns")


def _copy_kueue(folder: Path) -> None:
    shutil.copy2(builds.find("kueue"), folder / "manager")


def _debootstrap(folder: Path) -> None:
    options = ["--variant=minbase", "--quiet", "--format=tar"]
    options += [
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/man/*",
    ]
    subprocess.run(
        ["nice", "-n", "19", "mmdebstrap", *options, SUITE, folder / "debian.tar"], check=True
    )


def _build_wheel(folder: Path) -> None:
    """Put this checkout's distribution where the platform's Containerfiles expect it."""
    target = str(folder / "wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", target],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip


def _code() -> list[str | Path]:
    """What the wheel is made from, but for the README that it repeats."""
    files = [ROOT / "pyproject.toml"]
    for package in PACKAGES:
        inside = (ROOT / package).rglob("*")
        files += sorted(p for p in inside if p.is_file() and "__pycache__" not in p.parts)
    return [part for path in files for part in (str(path.relative_to(ROOT)), path)]


def _platform(name: str, *answers: tuple[str, ...]) -> tuple[Image, Image]:
    """One of the platform's images, after the one with what it needs of others.

    ``answers`` are commands that show that all it runs is there and can be loaded.

    The two are kept apart, so that a change of our own code installs nothing of others anew.
    """
    folder = PLATFORM / name
    packages = Image(f"{name}-packages", folder, base=BASE, argument="BASE", stage="packages")
    return packages, Image(
        name,
        folder,
        base=packages,
        argument="PACKAGES",
        tool=SBOM,
        answers=answers,
        prepare=_build_wheel,
        made_from=_code,
    )


PAUSE = Image("pause", OWN / "pause", prepare=_compile_pause)
COREDNS = Image(
    "coredns",
    OWN / "coredns",
    prepare=_copy_coredns,
    made_from=lambda: [str(builds.programs()["coredns"])],
)
KUEUE = Image(
    "kueue",
    OWN / "kueue",
    prepare=_copy_kueue,
    made_from=lambda: [str(builds.find("kueue"))],
)
DEBIAN = Image("debian", OWN / "debian", prepare=_debootstrap, made_from=lambda: [SUITE])
BASE = Image("base", PLATFORM / "base", base=DEBIAN, argument="DEBIAN")
SBOM = Image("sbom", PLATFORM / "sbom", base=BASE, argument="BASE")
SMOKE = "/usr/share/arcetri/smoke.ipynb"
MINIMAL = Image(
    "minimal", PLATFORM / "minimal", base=BASE, argument="BASE", tool=SBOM, smoke=SMOKE
)  # fmt: skip


def _environment(name: str) -> Image:
    return replace(MINIMAL, name=name, folder=PLATFORM / name, base=MINIMAL, argument="MINIMAL")


SCIENCE = _environment("science")


def _with_cuda(name: str) -> Image:
    """An environment on an image with NVIDIA's libraries alone, which is kept while they stay."""
    cuda = Image(
        f"{name}-cuda", PLATFORM / name / "cuda", base=MINIMAL, argument="MINIMAL"
    )  # fmt: skip
    return replace(_environment(name), base=cuda, argument="CUDA")


HEAVY = tuple(map(_with_cuda, ("torch", "jax", "tensorflow")))
"""Environments of many gigabytes, which are built only for who asks (``make images``)."""
ENVIRONMENTS = {image.name: image for image in (MINIMAL, SCIENCE, *HEAVY)}
HUB_PACKAGES, HUB = _platform(
    "hub",
    ("jupyterhub", "--version"),
    ("arcetri", "prepull", "--help"),
    ("python", "-m", "arcetri_hub.devidp", "--help"),
    ("python", "-c", "import arcetri_hub.factory, arcetri_spawner.kubespawner, psycopg"),
)
PROXY_PACKAGES, PROXY = _platform("proxy", ("python", "-m", "arcetri_hub.proxy", "--help"))
LEDGER_PACKAGES, LEDGER = _platform(
    "ledger", ("arcetri-ledger", "serve", "--help"), ("python", "-c", "import psycopg")
)
AGENT_PACKAGES, AGENT = _platform("agent", ("arcetri-agent", "run", "--help"))
PROVISIONER_PACKAGES, PROVISIONER = _platform("provisioner", ("arcetri-provisioner", "--help"))
INSTALLED = (HUB, PROXY, LEDGER, AGENT, PROVISIONER)
"""The images that the chart runs."""
BUILTIN = (PAUSE, COREDNS)
ALL = {
    image.name: image
    for image in (*BUILTIN, KUEUE, DEBIAN, BASE, SBOM, MINIMAL, SCIENCE, *INSTALLED)
}


def build(image: Image) -> Path:
    """Build an image, and before it its base, unless the cache has it; return its archive.

    Raises:
        ClusterError: It cannot be built; the builder's own words are on standard error.
    """
    archive = image.archive
    if archive.exists():
        cache.used(archive)
        return archive
    archive.parent.mkdir(exist_ok=True)
    for below in image.below:
        build(below)
    with cache.lock(archive.with_suffix(".lock")):
        if not archive.exists():
            begin = time.monotonic()
            _say(f"Building the image {image.name} ...\n")
            _build(image, archive)
            _say(f"The image {image.name} took {time.monotonic() - begin:.0f} s.\n")
    return archive


def _build(image: Image, archive: Path) -> None:
    fresh = archive.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=archive.parent.parent) as name:
        folder = Path(name)
        context = folder / "context"
        shutil.copytree(image.folder, context)
        if image.prepare:
            image.prepare(context)
        options = secrets(folder)
        if image.base:
            options += ["--build-arg", f"{image.argument}={image.base.reference}"]
        if image.tool:
            options += ["--build-arg", f"{image.tool.name.upper()}={image.tool.reference}"]
        try:
            for below in image.below:
                _buildah(folder, "pull", "--quiet", f"docker-archive:{below.archive}")
            _buildah(
                folder, "bud", "--isolation=chroot", "--pull-never", "--quiet", "--layers=false",
                *([f"--target={image.stage}"] if image.stage else []),
                f"--tag={image.reference}", *options, str(context),
            )  # fmt: skip
            if image.smoke:
                _try(folder, image)
            if image.answers:
                _ask(folder, image)
            target = f"docker-archive:{fresh}:{image.reference}"
            _buildah(folder, "push", "--quiet", image.reference, target)
        except subprocess.CalledProcessError as error:
            raise cache.ClusterError(
                f"The image {image.name} could not be built; the lines above say why."
            ) from error
    fresh.replace(archive)


def _try(folder: Path, image: Image) -> None:
    """Run the image's own notebook inside it, as a number that it has never heard of."""
    container = f"try-{image.name}"
    _buildah(folder, "from", "--quiet", "--pull-never", f"--name={container}", image.reference)
    somebody = ["--user=204242:304242", "--env=HOME=/tmp", "--workingdir=/tmp"]
    begin = ["run", "--isolation=chroot", *somebody, container, "--"]
    _buildah(folder, *begin, "jupyter", "execute", "--timeout=600", image.smoke)


def _ask(folder: Path, image: Image) -> None:
    """Run the image's commands inside it, one after the other."""
    container = f"ask-{image.name}"
    _buildah(folder, "from", "--quiet", "--pull-never", f"--name={container}", image.reference)
    for command in image.answers:
        _buildah(folder, "run", "--isolation=chroot", container, "--", *command)


def _buildah(folder: Path, *arguments: str) -> None:
    """Run buildah with its images in ``folder``, which can be removed when it has ended.

    It finds no image of another checkout there by the same name, and its mounts end with it.
    """
    alone = ["nice", "-n", "19", "unshare", "--mount", "--propagation=private"]
    storage = [f"--root={folder / 'storage'}", f"--runroot={folder / 'run'}"]
    subprocess.run(
        [*alone, "buildah", *storage, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # it repeats what standard error says
        check=True,
    )


def load(archive: Path) -> None:
    """Give an image to the containerd of the namespaces one is in."""
    ctr = ["ctr", "--address", CONTAINERD_SOCKET, "--namespace=k8s.io"]
    subprocess.run(
        [*ctr, "images", "import", str(archive)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
