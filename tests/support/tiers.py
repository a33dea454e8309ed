"""What the tests need of the machine, what is missing, and getting it on Debian.

``python -m tests.support.tiers`` installs what is missing where it can (Debian, as root), and is
what ``make test`` runs first. A test asks with ``need("chromium")``, or by its marker.

With ARCETRI_TEST_REQUIRE=all, as in CI, a test that is skipped is one that fails: whatever a test
needs can be installed, so that its absence is a mistake of whoever set up the machine. Hardware is
the one exception, since nobody can install it: a test without its hardware is skipped everywhere,
and the summary counts it with the reason, in CI as elsewhere.
"""

from __future__ import annotations

import contextlib
import ctypes.util
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster import builds

REQUIRE_VARIABLE = "ARCETRI_TEST_REQUIRE"
_COUNT_GPUS = "import pynvml; pynvml.nvmlInit(); print(pynvml.nvmlDeviceGetCount())"


class NoHardware(pytest.skip.Exception):
    """The test is skipped, and rightly: what it needs cannot be installed."""

    __module__ = "builtins"  # as pytest's own, which reports would else write out


def find_initdb() -> Path | None:
    """PostgreSQL's ``initdb``: on the path, or where Debian puts it."""
    found = shutil.which("initdb")
    if found:
        return Path(found)
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return places[-1] if places else None


def find_chromium() -> Path | None:
    """The browser that Playwright is told to use."""
    found = shutil.which("chromium")
    return Path(found) if found else None


@functools.cache
def count_gpus() -> int:
    """How many GPUs the system's own libnvidia-ml finds; 0 where there is none or it hangs."""
    try:
        # Not in this process: a driver may hang, and tests load a library of their own.
        result = subprocess.run(
            [sys.executable, "-c", _COUNT_GPUS],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 0
    return int(result.stdout) if result.returncode == 0 else 0


def _has_font() -> bool:
    return any(Path("/usr/share/fonts").rglob("DejaVuSans.ttf"))


def _has_static_c() -> bool:
    return any(Path("/usr/lib").glob("*/libc.a"))


def _has_program(name: str) -> bool:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is not None


@dataclass(frozen=True, slots=True)
class Part:
    """Something a tier needs."""

    title: str
    packages: tuple[str, ...]
    """Debian's packages that bring it; none when no package can."""
    present: Callable[[], bool]
    hardware: bool = False
    """Nobody can install it: a test without it is skipped, and never a failure."""


PARTS = {
    "gcc": Part("a C compiler", ("gcc", "libc6-dev"), lambda: bool(shutil.which("gcc"))),
    "postgresql": Part("PostgreSQL", ("postgresql",), lambda: find_initdb() is not None),
    "chromium": Part("Chromium", ("chromium",), lambda: find_chromium() is not None),
    "fonts": Part("the DejaVu fonts", ("fonts-dejavu-core",), _has_font),
    "setpriv": Part("setpriv", ("util-linux",), lambda: bool(shutil.which("setpriv"))),
    "go": Part(
        "Go 1.26 or newer",
        (),
        lambda: builds.find_go() is not None,
    ),
    "cni": Part(
        "the container network plugins",
        ("containernetworking-plugins",),
        lambda: Path("/usr/lib/cni/bridge").exists(),
    ),
    "libc.a": Part("the C library to link statically", ("libc6-dev",), _has_static_c),
    **{
        program: Part(program, (package,), functools.partial(_has_program, program))
        for program, package in {
            "containerd": "containerd",
            "runc": "runc",
            "ip": "iproute2",
            "iptables": "iptables",
            "ipset": "ipset",
            "nft": "nftables",
            "conntrack": "conntrack",
            "buildah": "buildah",
            "mmdebstrap": "mmdebstrap",
            "docker-registry": "docker-registry",
            "skopeo": "skopeo",
            "glusterd": "glusterfs-server",
            "glusterfs": "glusterfs-client",
        }.items()
    },
    "root": Part("root's rights", (), lambda: os.geteuid() == 0),
    "prctl": Part(
        "Linux", (), lambda: sys.platform == "linux" and ctypes.util.find_library("c") is not None
    ),
    "gpu": Part("a GPU that NVML finds", (), lambda: count_gpus() > 0, hardware=True),
}

TIERS: dict[str, tuple[str, ...]] = {
    "unit": (),
    "component": ("prctl",),
    "browser": ("chromium", "fonts"),
    "cluster": (
        "prctl",
        "root",
        "go",
        "gcc",
        "libc.a",
        "containerd",
        "runc",
        "cni",
        "ip",
        "iptables",
        "ipset",
        "nft",
        "conntrack",
        "buildah",
        "mmdebstrap",
        "docker-registry",
        "skopeo",
        "glusterd",
        "glusterfs",
    ),
    "gpu": ("prctl", "gpu"),
}
"""What each tier cannot do without; single tests may need more."""


def missing(name: str) -> str:
    """Why a part cannot be had; empty when it is there."""
    part = PARTS[name]
    if part.present():
        return ""
    if not part.packages:
        return f"needs {part.title}"
    return f"needs {part.title} (Debian: apt-get install {' '.join(part.packages)})"


def need(*names: str) -> None:
    """Skip the running test when a part is missing; fail it when this part may not be missing."""
    reasons = {name: reason for name in names if (reason := missing(name))}
    if not reasons:
        return
    said = "; ".join(reasons.values())
    if all(PARTS[name].hardware for name in reasons):
        raise NoHardware(said)
    if all_required():
        pytest.fail(said, pytrace=False)
    pytest.skip(said)


def all_required() -> bool:
    """Whether a skipped test is a failure, as in CI; not for want of hardware (``NoHardware``)."""
    return os.environ.get(REQUIRE_VARIABLE) == "all"


def install() -> None:
    """Install what is missing, where this is Debian and the account is root; else say so."""
    wanted = [name for name, part in PARTS.items() if part.packages and missing(name)]
    if not wanted:
        return
    packages = [package for name in wanted for package in PARTS[name].packages]
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        for name in wanted:
            _say(f"Tests will be skipped: {missing(name)}")
        return
    _say(f"Installing for the tests: {' '.join(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    quiet = [apt, "-qq", "-o", "DPkg::Lock::Timeout=120"]
    commands = (
        [*quiet, "update"],
        # Packages that would put another's away are not worth it.
        [*quiet, "install", "--yes", "--no-install-recommends", "--no-remove", *packages],
    )
    with _no_services():
        for command in commands:
            result = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                check=False,
            )
            if result.returncode != 0:
                _say(f"{' '.join(command)} failed; tests that need it will be skipped.")
                return


@contextlib.contextmanager
def _no_services(policy: Path = Path("/usr/sbin/policy-rc.d")) -> Iterator[None]:
    """Let Debian start no service of what is installed: tests start what they need themselves."""
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    policy.chmod(0o755)
    # It goes also when this process is killed: else no package could start its service any more.
    guard = subprocess.Popen(
        ["sh", "-c", 'cat >/dev/null; rm -f "$1"', "guard", str(policy)],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield
    finally:
        guard.communicate()


def _say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


if __name__ == "__main__":
    install()
