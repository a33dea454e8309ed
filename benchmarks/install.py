"""What ``make up`` installs, by package, and how long it takes until the login page is there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Any

from arcetri_hub.up import ports

ROOT = Path(__file__).parent.parent
PATIENCE = 600.0


def run() -> dict[str, Any]:
    """Install into a copy of the repository, twice started; sizes in MB, times in seconds."""
    with tempfile.TemporaryDirectory(prefix="arcetri-bench-") as name:
        clone = Path(name) / "arcetri"
        _call("git", "clone", "--quiet", "--local", str(ROOT), str(clone))
        first = _seconds_to_login(clone)
        again = _seconds_to_login(clone)
        sizes = _sizes(next((clone / ".venv/lib").glob("python3*")) / "site-packages")
    return {
        "seconds_to_login_warm_package_cache": first,
        "seconds_to_login_installed": again,
        "installed_mb": round(sum(sizes.values()), 1),
        "packages": len(sizes),
        "kubernetes_client": any("kubernetes" in name for name in sizes),
        "packages_mb": dict(
            sorted(((k, round(v, 2)) for k, v in sizes.items()), key=lambda i: -i[1])
        ),
    }


def _call(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)  # noqa: S603 - our own commands


def _seconds_to_login(clone: Path) -> float:
    """From ``make up`` to its line of JSON, which comes when the login page answers."""
    begin = time.monotonic()
    with subprocess.Popen(  # noqa: S603 - our own command
        [
            shutil.which("make") or "make",
            "--no-print-directory",
            "up",
            f"ARGS=--json --port {ports.choose()}",
        ],
        cwd=clone,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None  # noqa: S101 - asked for just above
            line = ""
            while not line.startswith("{") and time.monotonic() - begin < PATIENCE:
                line = process.stdout.readline()
                if not line:
                    raise RuntimeError("make up ended before the login page was there")
            return round(time.monotonic() - begin, 1)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(90)


def _sizes(packages: Path) -> dict[str, float]:
    sizes: dict[str, float] = {}
    for info in packages.glob("*.dist-info"):
        distribution = PathDistribution(info)
        files = [Path(str(distribution.locate_file(f))) for f in distribution.files or ()]
        sizes[distribution.metadata["Name"]] = (
            sum(f.stat().st_size for f in files if f.is_file()) / 1e6
        )
    return sizes
