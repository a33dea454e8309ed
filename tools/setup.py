"""Make the environment ``.venv`` from the locked requirements: ``setup.py hub`` or ``... dev``.

Run by the Makefile with the Python the environment is to be built on; nothing but the standard
library. Does nothing when nothing has changed. Speaks on standard error only.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
REQUIREMENTS = ROOT / "requirements"
PYTHON = VENV / "bin" / "python"


def main(level: str) -> int:
    """Bring the environment up to ``level``; the exit status."""
    if sys.version_info < (3, 11):  # noqa: UP036  # whoever sets PYTHON= may name an older one
        return _refuse("Arcetri needs Python 3.11 or newer; name one with make PYTHON=...")
    # Two makes at the same time take turns; the folder itself is the lock, so nothing is left.
    lock = os.open(ROOT, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    wanted = _digest(level)
    stamp = VENV / f".arcetri-{level}"
    if _read(stamp) == wanted and PYTHON.exists():
        return 0
    _say(f"Setting up {VENV} (only after a change; the first time takes some minutes) ...")
    if not (_make() and _tools() and _install(level) and _project()):
        return _refuse("The environment could not be set up; the lines above say why.")
    stamp.write_text(wanted, encoding="utf-8")
    if level == "dev":  # which has everything of hub
        (VENV / ".arcetri-hub").write_text(_digest("hub"), encoding="utf-8")
    return 0


def _digest(level: str) -> str:
    """What the environment depends on, as one word."""
    digest = hashlib.sha256(f"{sys.version} {ROOT}".encode())
    for path in (
        REQUIREMENTS / "tools.txt",
        REQUIREMENTS / f"{level}.txt",
        ROOT / "pyproject.toml",
        Path(__file__),
    ):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _make() -> bool:
    """An environment whose Python runs."""
    if PYTHON.exists() and _run([str(PYTHON), "-c", "import pip"], quiet=True):
        return True
    try:
        venv.EnvBuilder(clear=True, symlinks=True, with_pip=True).create(VENV)
    except (OSError, subprocess.CalledProcessError) as error:
        _say(f"{sys.executable} cannot make an environment: {error}")
        return False
    return True


def _tools() -> bool:
    """The installer, and what builds this project."""
    return _pip("--require-hashes", "-r", str(REQUIREMENTS / "tools.txt"))


def _install(level: str) -> bool:
    """The locked requirements; what is there besides stays."""
    arguments = ("--require-hashes", "-r", str(REQUIREMENTS / f"{level}.txt"))
    # uv is much the faster, but knows nothing of pip's configuration, such as a site's mirror.
    return _uv("--compile-bytecode", *arguments) or _pip(*arguments)


def _project() -> bool:
    """This clone itself, editable, so that a change of its code needs no setup."""
    arguments = ("--no-build-isolation", "--no-deps", "--editable", str(ROOT))
    return _uv("--offline", *arguments) or _pip(*arguments)


def _uv(*arguments: str) -> bool:
    uv = str(VENV / "bin" / "uv")
    return _run([uv, "pip", "install", "--quiet", "--python", str(PYTHON), *arguments])


def _pip(*arguments: str) -> bool:
    options = ("--quiet", "--disable-pip-version-check", "--no-input")
    return _run([str(PYTHON), "-m", "pip", "install", *options, *arguments])


def _run(command: list[str], *, quiet: bool = False) -> bool:
    """Run a command whose output goes to standard error; whether it succeeded."""
    sink = subprocess.DEVNULL if quiet else sys.stderr
    try:
        result = subprocess.run(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, check=False
        )
    except OSError:
        return False
    return result.returncode == 0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


def _refuse(sentence: str) -> int:
    _say(sentence)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
