"""The cluster's programs, built once from pinned Go modules.

Each folder below ``go/`` is a module that pins what its programs are made from; a program is built
when nothing in the cache was made from the same pins, flags and Go.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster import cache

SOURCES = Path(__file__).parent / "go"
KUBERNETES = "1.36.3"
KUEUE = "0.19.2"
_STAMP = "k8s.io/component-base/version"
_FLAGS = ("-mod=readonly", "-trimpath", "-buildvcs=false")


@dataclass(frozen=True, slots=True)
class Module:
    """A folder of ``go/`` and what is built in it."""

    name: str
    programs: dict[str, str]
    """Import paths by the programs' names."""
    stamps: tuple[str, ...] = ()
    """Variables that the linker sets."""
    data: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    """Folders that are kept beside the programs: from which module, and which of its files."""
    trees: dict[str, tuple[str, str]] = field(default_factory=dict)
    """The same with all that is below a folder of a module: from which module, which folder."""
    extra: bool = False
    """Whether a cluster starts without it, since only some of its tests want it."""

    @property
    def folder(self) -> Path:
        """Where its pins and its own sources lie."""
        return SOURCES / self.name

    def flags(self) -> tuple[str, ...]:
        """How its programs are built: without what only a debugger needs, the same everywhere."""
        linker = " ".join(("-s -w", *(f"-X {stamp}" for stamp in self.stamps)))
        return (*_FLAGS, "-ldflags", linker)

    def cached(self) -> Path:
        """Where its programs are, or will be when they are built."""
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        named = [part for path in files for part in (path.name, path)]
        named += [repr(self.data), *([repr(self.trees)] if self.trees else [])]
        word = cache.digest([*named, *self.flags(), _go_version()])
        return cache.root() / "bin" / f"{self.name}-{word}"

    def missing(self) -> list[str]:
        """Its programs that are not built yet."""
        folder = self.cached()
        named = (*self.data, *self.trees, *self.programs)
        return [name for name in named if not (folder / name).exists()]


def _commands(*names: str) -> dict[str, str]:
    return {name: f"k8s.io/kubernetes/cmd/{name}" for name in names}


MODULES = (
    Module("etcd", {"etcd": "go.etcd.io/etcd/server/v3"}),
    Module(
        "kubernetes",
        _commands(
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubelet",
            "kube-proxy",
            "kubectl",
        ),
        (
            f"{_STAMP}.gitVersion=v{KUBERNETES}",
            f"{_STAMP}.gitMajor={KUBERNETES.split('.')[0]}",
            f"{_STAMP}.gitMinor={KUBERNETES.split('.')[1]}",
        ),
    ),
    Module("coredns", {"coredns": "github.com/coredns/coredns"}),
    Module("deviceplugin", {"deviceplugin": ".", "podresources": "./podresources"}),
    Module(
        "kwok",
        {"kwok": "sigs.k8s.io/kwok/cmd/kwok"},
        data={
            "kwok-stages": (
                "sigs.k8s.io/kwok",
                (
                    "kustomize/stage/node/fast/node-*.yaml",
                    "kustomize/stage/node/heartbeat/node-*.yaml",
                    "kustomize/stage/pod/fast/pod-*.yaml",
                ),
            )
        },
    ),
    Module("helm", {"helm": "helm.sh/helm/v4/cmd/helm"}),
    Module("netpolicy", {"netpolicy": "."}, extra=True),
    Module(
        "openapi",
        {},
        data={"openapi": ("k8s.io/kubernetes", ("api/openapi-spec/swagger.json",))},
        extra=True,
    ),
    Module(
        "kueue",
        {"kueue": "sigs.k8s.io/kueue/cmd/kueue"},
        (f"sigs.k8s.io/kueue/pkg/version.GitVersion=v{KUEUE}",),
        trees={
            "kueue-chart": ("sigs.k8s.io/kueue", "charts/kueue"),
            "kueue-crds": ("sigs.k8s.io/kueue", "config/components/crd/bases"),
            "kueue-types": ("sigs.k8s.io/kueue", "apis/kueue/v1beta2"),
        },
        extra=True,
    ),
)


def find_go() -> Path | None:
    """Go's command: on the path, or where its own archive puts it."""
    found = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
    return Path(found) if found else None


@functools.cache
def _go_version() -> str:
    go = _go()
    answer = subprocess.run(
        [go, "env", "GOVERSION", "GOOS", "GOARCH"],
        env=_environment(),
        cwd=SOURCES,
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout


def _go() -> Path:
    go = find_go()
    if go is None:
        raise cache.ClusterError(
            "The cluster's programs are built with Go, and there is no go on the path nor in"
            " /usr/local/go/bin: install Go 1.26 or newer."
        )
    return go


def _environment() -> dict[str, str]:
    return {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}


def programs() -> dict[str, Path]:
    """Where each program is that a cluster starts with, and each folder of data, all of them built.

    Raises:
        ClusterError: Some are not built yet, or there is no Go to say which.
    """
    modules = [module for module in MODULES if not module.extra]
    lacking = [name for module in modules for name in module.missing()]
    if lacking:
        raise cache.ClusterError(
            f"Not built yet: {', '.join(lacking)}. Run make cluster-build, once (about 15 minutes)."
        )
    for module in modules:
        cache.used(module.cached())
    return {
        name: module.cached() / name
        for module in modules
        for name in (*module.programs, *module.data, *module.trees)
    }


def find(name: str) -> Path:
    """Where one program or folder of data is, built.

    Raises:
        ClusterError: It is not built yet, or there is no Go to say which.
    """
    module = next(one for one in MODULES if name in (*one.programs, *one.data, *one.trees))
    if name in module.missing():
        how = "python -m tests.cluster.prepare" if module.extra else "make cluster-build"
        raise cache.ClusterError(f"Not built yet: {name}. Run {how}, once.")
    cache.used(module.cached())
    return module.cached() / name


def tree(name: str) -> Path:
    """A folder that one of the modules brings, without building its programs.

    Raises:
        ClusterError: There is no Go to fetch it with.
    """
    module = next(module for module in MODULES if name in module.trees)
    found = module.cached() / name
    if not found.exists():
        found.parent.mkdir(parents=True, exist_ok=True)
        with cache.lock(_lock(module, name)):
            _make(module, name)
    return found


def build(*, extras: bool = True) -> None:
    """Build what is missing, saying what and how long.

    Args:
        extras: Also what a cluster starts without.

    Raises:
        ClusterError: Go is missing, or a build failed; Go's own words are on standard error.
    """
    modules = [module for module in MODULES if extras or not module.extra]
    wanted = [(module, name) for module in modules for name in module.missing()]
    for number, (module, name) in enumerate(wanted, start=1):
        folder = module.cached()
        folder.mkdir(parents=True, exist_ok=True)
        with cache.lock(_lock(module, name)):
            if (folder / name).exists():
                continue  # somebody else was quicker
            _say(f"Building {name} ({number} of {len(wanted)}, only this once) ... ")
            begin = time.monotonic()
            _make(module, name)
            _say(f"{time.monotonic() - begin:.0f} s\n")


def _lock(module: Module, name: str) -> Path:
    """The lock of one thing: nobody who wants a folder waits for the build of a program."""
    return module.cached() / f".{name}.lock"


def _make(module: Module, name: str) -> None:
    folder = module.cached()
    if (folder / name).exists():
        return
    fresh = folder / f".{name}.new"
    if name in module.data:
        _copy(module, name, fresh)
    elif name in module.trees:
        source, below = module.trees[name]
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(_source(module, source) / below, fresh, copy_function=shutil.copyfile)
        for path in (fresh, *fresh.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)  # those of the module are read-only
    else:
        _build(module, name, fresh)
    fresh.replace(folder / name)


def _build(module: Module, name: str, target: Path) -> None:
    command = ["nice", "-n", "19", str(_go()), "build", *module.flags()]
    command += ["-o", str(target), module.programs[name]]
    result = subprocess.run(
        command, cwd=module.folder, env=_environment(), stdin=subprocess.DEVNULL, check=False
    )
    if result.returncode != 0:
        raise cache.ClusterError(
            f"{name} could not be built in tests/cluster/go/{module.name}; the lines above say why."
        )


def _copy(module: Module, name: str, target: Path) -> None:
    """Keep files that a module brings besides its programs."""
    source, patterns = module.data[name]
    found = _source(module, source)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for pattern in patterns:
        for path in sorted(found.glob(pattern)):
            shutil.copyfile(path, target / path.name)


def _source(module: Module, source: str) -> Path:
    """Where Go keeps the files of a module that another one requires, fetched."""
    go = str(_go())
    fetch = [go, "mod", "download", source]
    subprocess.run(fetch, cwd=module.folder, env=_environment(), check=True)
    found = subprocess.run(
        [go, "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", source],
        cwd=module.folder,
        env=_environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Path(found.stdout.strip())


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
