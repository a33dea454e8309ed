"""What a session needs on the disk before it starts, and what is cleared away after its end."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from arcetri_spawner import lab
from arcetri_spawner.backends.base import Device, Launch
from arcetri_spawner.backends.local import mounts, places, usernames
from arcetri_spawner.backends.local.accounts import Account
from arcetri_spawner.backends.local.config import LocalConfig
from arcetri_spawner.backends.local.environment import session_environment
from arcetri_spawner.backends.local.interpreter import Interpreter
from arcetri_spawner.backends.local.volumes import View, home_of, link
from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.folders.making import segments
from arcetri_spawner.folders.ownership import private_volumes
from arcetri_spawner.policy.model import Grant

LOG = "log"
EXIT = "exit.json"

_LOG_LIMIT = 1024 * 1024
_TAIL_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything decided about a start before its process exists."""

    grant: Grant
    devices: tuple[Device, ...]
    launch: Launch
    folder: Path
    view: View
    interpreter: Interpreter
    account: Account | None
    ports: tuple[int, int]


def check_disk(config: LocalConfig) -> None:
    """Refuse a start that would soon fail for want of space, in a way nobody understands.

    Raises:
        OSError: Less is free than a session needs to begin (ENOSPC).
    """
    disk = os.statvfs(config.state_dir)
    if disk.f_bavail * disk.f_frsize < config.min_free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def make_folder(config: LocalConfig, session_id: UUID) -> Path:
    """Make the session's own folder, empty but for the log of an earlier try."""
    config.sessions_dir.mkdir(parents=True, exist_ok=True)
    folder = config.sessions_dir / str(session_id)
    folder.mkdir(exist_ok=True)
    mode = 0o711 if config.accounts else 0o700
    for path in (config.sessions_dir, folder):
        path.chmod(mode)
    return folder


def view_of(
    config: LocalConfig,
    grant: Grant,
    folder: Path,
    sources: Mapping[str, Path],
    catalog: Catalog,
    *,
    account: Account | None,
    alone: bool,
) -> View:
    """Lay out what the session sees of its volumes; with mounts, nothing is done yet but planned.

    Args:
        config: Where everything lies, and whether there are mounts.
        grant: Whose session, and which volumes.
        folder: The session's own folder.
        sources: By volume name, where each folder is.
        catalog: For the home, and for what no mount may hide.
        account: As whom the session runs; None for the platform's own account.
        alone: Whether the person has no other session.
    """
    folders = places.place(grant.username, grant.volumes, config, catalog)
    private = private_volumes(catalog)
    home = home_of(grant.volumes, grant.username, private)
    paths = {found.volume.name: found.path for found in folders}
    root = config.views_dir / grant.username
    told = places.with_scratch(folders, sources)
    start = "/".join(segments(home.mount)) if home and paths[home.name] else ""
    if not config.mounts:
        shown = {f.volume.mount: sources[f.volume.name] for f in folders if f.path}
        link(root, shown, group=account.gid if account else None, alone=alone)
        own = sources[home.name] if home else folder / "home"
        return View(root, own, start, told)
    kept = {folder, config.state_dir / "python"}
    kept |= {p for p in places.needed(config, catalog) if config.state_dir in p.parents}
    room = mounts.plan(
        folder,
        config.state_dir,
        places.mounts_of(folders, sources),
        kept=[path for path in kept if path.exists()],
        shown=places.shown_in_view(folders, sources),
        links=places.links(folders, root),
        files=usernames.files(folder) if account else None,
    )
    own = Path(paths[home.name] or sources[home.name]) if home else folder / "home"
    return View(root, own, start, told, room)


def fill_folder(folder: Path, view: View, account: Account | None) -> None:
    """Make what Jupyter writes and reads: runtime folder, settings, a home for who has none."""
    own = [folder / "runtime"]
    if not view.start:
        own.append(view.home)
    for path in own:
        path.mkdir(mode=0o700, exist_ok=True)
        if account is not None:
            os.chown(path, account.uid, account.gid)
    settings = folder / "config"
    overrides = settings / "labconfig"
    overrides.mkdir(parents=True, exist_ok=True)
    # Jupyter refuses root unless told: without accounts, sessions are whoever runs the hub.
    root = account is None and os.geteuid() == 0
    notices = settings / "labextensions" / lab.NAME
    (notices / "static").mkdir(parents=True, exist_ok=True)
    server: dict[str, Any] = {
        "ServerApp": {"open_browser": False, "allow_root": root},
        "LabServerApp": {"extra_labextensions_path": [str(notices.parent)]},
    }
    if view.start:
        server["FileContentsManager"] = {"preferred_dir": view.start}
    _write(settings / "jupyter_server_config.json", server)
    _write(
        overrides / "default_setting_overrides.json",
        {
            "@jupyterlab/apputils-extension:notification": {
                "fetchNews": "false",
                "checkForUpdates": False,
            }
        },
    )
    for name in (lab.PACKAGE, lab.SCRIPT):
        _write(notices / name, lab.text(name))
    if account is not None:
        if view.room is not None:
            usernames.fill(folder, account, view.home)
        for path in (settings, overrides, notices.parent, notices, notices / "static"):
            path.chmod(0o755)


def _write(path: Path, content: dict[str, Any] | str) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)


def orders(config: LocalConfig, prepared: Prepared) -> dict[str, Any]:
    """What the keeper is told."""
    first, second = (
        f"http://127.0.0.1:{port}{prepared.launch.base_url}" for port in prepared.ports
    )
    interpreter = prepared.interpreter
    folder = prepared.folder
    search = [str(folder / "config"), interpreter.config_path]
    env = session_environment(
        prepared.grant,
        prepared.devices,
        instance_id=config.instance_id,
        home=prepared.view.home,
        root=prepared.view.root,
        folders=places.variables(prepared.view.folders),
        runtime=folder / "runtime",
        service_url=first,
        requested_env=prepared.launch.env,
        interpreter_env={
            **interpreter.env,
            "JUPYTER_CONFIG_PATH": ":".join(filter(None, search)),
        },
        path_first=interpreter.path,
    )
    account = prepared.account
    return {
        "argv": [
            str(interpreter.executable),
            "-m",
            "jupyterhub.singleuser",
            *prepared.launch.args,
        ],
        "env": env,
        "cwd": str(prepared.view.home),
        "umask": 0o007 if account else 0o077,
        "log": str(folder / LOG),
        "log_limit": _LOG_LIMIT,
        "exit_file": str(folder / EXIT),
        "port": prepared.ports[0],
        "other": {"port": prepared.ports[1], "env": {"JUPYTERHUB_SERVICE_URL": second}},
        "room": prepared.view.room,
        "account": account
        and {"uid": account.uid, "gid": account.gid, "groups": list(account.groups)},
    }


def log_tail(folder: Path, lines: int = 20) -> str:
    """The last lines a session's server printed."""
    try:
        with (folder / LOG).open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(file.tell() - _TAIL_BYTES, 0))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def read_exit(folder: Path) -> dict[str, Any] | None:
    """How the keeper says that the session ended; None when it could not say."""
    try:
        found = json.loads((folder / EXIT).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("code"), int) else None


def clear_folder(folder: Path) -> None:
    """Take away all but the logs."""
    for path in _entries(folder):
        if path.name in (LOG, f"{LOG}.1"):
            continue
        if path.is_dir() and not path.is_symlink():
            # Removes links themselves, never what they lead to.
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def clear_ended(sessions: Path, live: Collection[UUID]) -> None:
    """Take away all but the logs of every session but these."""
    names = {str(session_id) for session_id in live}
    for folder in _entries(sessions):
        if folder.name not in names and folder.is_dir() and not folder.is_symlink():
            clear_folder(folder)


def prune(sessions: Path, live: Sequence[UUID], keep: int) -> None:
    """Take away the folders of all but the last ``keep`` ended sessions."""
    names = {str(session_id) for session_id in live}
    ended = [path for path in _entries(sessions) if path.name not in names]
    ended.sort(key=lambda path: path.lstat().st_mtime, reverse=True)
    for path in ended[keep:]:
        shutil.rmtree(path, ignore_errors=True)


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []
