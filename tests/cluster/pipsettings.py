"""What this machine's pip is told, for pip inside an image's build, where it must not stay.

A build step mounts the two secrets while it runs; where a machine sets nothing there are none, and
pip does as it does by itself.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_KEPT = ("index-url", "extra-index-url", "trusted-host", "timeout")
_TRUST = "/run/secrets/ca.crt"


def secrets(folder: Path) -> list[str]:
    """Buildah's options for the two secrets ``pip.conf`` and ``ca.crt``.

    Args:
        folder: Where to write the configuration; it must stay until the build is over.
    """
    answer = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    settings = parse(answer.stdout)
    lines = ["[global]"]
    options: list[str] = []
    if bundle := settings.get("cert"):
        options += ["--secret", f"id=ca.crt,src={bundle}"]
        lines.append(f"cert = {_TRUST}")
    lines += [f"{name} = {settings[name]}" for name in _KEPT if name in settings]
    if len(lines) > 1:
        written = folder / "pip.conf"
        written.write_text("\n".join(lines) + "\n", encoding="utf-8")
        options += ["--secret", f"id=pip.conf,src={written}"]
    return options


def parse(listing: str) -> dict[str, str]:
    """The settings that ``pip config list`` shows, whatever they were set by; the last wins."""
    settings = {}
    for line in listing.splitlines():
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2]] = value.strip().strip("'\"")
    return settings
