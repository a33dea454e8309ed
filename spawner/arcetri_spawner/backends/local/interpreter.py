"""The interpreter behind an environment.

``default`` is the hub's own packages, but not its own virtual environment: a thin one beside it, in
which a person's ``pip install --user`` works and lands in their home, where it survives.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import sysconfig
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from arcetri_spawner.errors import StartFailed

DEFAULT = "default"
_making = threading.Lock()
"""The first sessions of a platform may be asked for at once."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """How to run an environment's Python."""

    executable: Path
    env: Mapping[str, str] = field(default_factory=dict)
    path: tuple[Path, ...] = ()
    """Folders searched for its commands, first one first."""
    config_path: str = ""
    """Where its Jupyter configuration lies, for JUPYTER_CONFIG_PATH."""


def resolve(local: str | None, *, hub_python: Path, state_dir: Path) -> Interpreter:
    """The interpreter that the catalog's ``local`` names.

    Raises:
        StartFailed: There is none, or it cannot be run.
    """
    if local is None:
        raise StartFailed(
            "This environment cannot run on this machine.",
            code="environment_not_local",
            remedy="Choose another environment; the admins can name a local interpreter for it.",
        )
    if local == DEFAULT:
        if hub_python == Path(sys.executable) and sys.prefix != sys.base_prefix:
            return _beside_the_hub(state_dir)
        return Interpreter(hub_python, path=(hub_python.parent,))
    executable = Path(local)
    if executable.is_dir():
        executable = executable / "bin" / "python"
    if not executable.is_absolute() or not os.access(executable, os.X_OK):
        raise StartFailed(
            f"The environment's interpreter {local} is not there.",
            code="interpreter_missing",
            remedy="Choose another environment; the admins correct `local` in profiles.yaml.",
        )
    return Interpreter(executable, path=(executable.parent,))


def _beside_the_hub(state_dir: Path) -> Interpreter:
    hub = Path(sys.prefix)
    packages = sysconfig.get_path("purelib")
    mark = hashlib.sha256(f"{hub}\n{packages}\n{sys.version}\n3".encode()).hexdigest()[:12]
    folder = state_dir / "python" / mark
    with _making:
        if not (folder / "bin" / "python").exists():
            _make(folder, packages)
    return Interpreter(
        executable=folder / "bin" / "python",
        env={
            "PIP_USER": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "JUPYTER_PATH": str(hub / "share/jupyter"),
            "JUPYTERLAB_DIR": str(hub / "share/jupyter/lab"),
        },
        path=(folder / "bin", hub / "bin"),
        config_path=str(hub / "etc/jupyter"),
    )


def _make(folder: Path, packages: str) -> None:
    """Make the thin environment, all or nothing."""
    base = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    site = temporary / "lib" / version / "site-packages"
    binaries = temporary / "bin"
    for path in (site, binaries):
        path.mkdir(parents=True, mode=0o755)
    # With system packages visible, pip and site take the person's own packages for visible too.
    (temporary / "pyvenv.cfg").write_text(
        f"home = {base.parent}\ninclude-system-site-packages = true\n"
        f"version = {sys.version.split()[0]}\n"
    )
    (site / "arcetri.pth").write_text(f"import site; site.addsitedir({packages!r})\n")
    (binaries / "python").symlink_to(base)
    for name in ("python3", version):
        (binaries / name).symlink_to("python")
    for name in ("pip", "pip3"):
        script = binaries / name
        script.write_text('#!/bin/sh\nexec "$(dirname "$0")/python" -m pip "$@"\n')
        script.chmod(0o755)
    for path in (temporary, *temporary.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.parent == binaries else 0o644)
    try:
        temporary.rename(folder)
    except OSError:
        # Another start was faster; its result is the same.
        shutil.rmtree(temporary, ignore_errors=True)
        if not (folder / "bin" / "python").exists():
            raise
