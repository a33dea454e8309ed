"""Names for a session's account: the ``/etc/passwd`` and ``/etc/group`` that it sees as its own.

The account is a number that the machine has no name for, and ``whoami``, ``ssh`` and all that looks
its user up would fail. The machine's own files are never written to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from arcetri_spawner.backends.local.accounts import Account

PASSWD = Path("/etc/passwd")
GROUP = Path("/etc/group")

_SHELLS = ("/bin/bash", "/bin/sh")
_NO_FIELD = re.compile(r"[:,\x00-\x1f\x7f]")


def files(folder: Path) -> dict[str, Path]:
    """The files of a session that stand in its own file system for the machine's, by their place.

    Those that the machine has not are left out: there is nothing to mount on.

    Args:
        folder: The session's own folder.
    """
    return {str(path): folder / path.name for path in (PASSWD, GROUP) if path.is_file()}


def fill(folder: Path, account: Account, home: Path) -> None:
    """Write a session's files into its folder."""
    for place, path in files(folder).items():
        machine = Path(place).read_text(encoding="utf-8", errors="surrogateescape")
        text = passwd(machine, account, home) if place == str(PASSWD) else group(machine, account)
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
        path.chmod(0o644)


def passwd(machine: str, account: Account, home: Path, shells: Sequence[str] = _SHELLS) -> str:
    """The machine's accounts, and before them the session's.

    Args:
        machine: The machine's file.
        account: As whom the session runs.
        home: The home folder, where the session sees it.
        shells: The login shell is the first of these that there is.
    """
    shell = next((path for path in shells if Path(path).exists()), "/bin/sh")
    name = _field(account.name)
    line = f"{name}:x:{account.uid}:{account.gid}::{_field(str(home))}:{shell}"
    return _before(machine, {name: (account.uid, line)})


def group(machine: str, account: Account) -> str:
    """The machine's groups, and before them the session's: its account's own, and the person's."""
    name = _field(account.name)
    lines = {name: (account.gid, f"{name}:x:{account.gid}:")}
    for path, number in account.names.items():
        title = _field(path)
        lines[title] = (number, f"{title}:x:{number}:{name}")
    return _before(machine, lines)


def _before(machine: str, lines: Mapping[str, tuple[int, str]]) -> str:
    """Put lines before the machine's, less those that have one of their names or numbers.

    So a name has one number and a number one name, whichever of the two is looked up.
    """
    numbers = {str(number) for number, _ in lines.values()}
    kept = []
    for line in machine.splitlines():
        name, *fields = line.split(":")
        if name not in lines and numbers.isdisjoint(fields[1:2]):
            kept.append(line)
    return "".join(f"{line}\n" for line in (*(line for _, line in lines.values()), *kept))


def _field(text: str) -> str:
    """What can stand between two colons; a group is called by its path."""
    return _NO_FIELD.sub("_", text)
