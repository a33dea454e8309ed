"""A platform that is made to fail, and what must agree whatever happened to it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import httpx

from arcetri_accounting.contract.journal import JOURNAL_NAME, LeaseStarted, parse_journal_line
from arcetri_spawner.killpoints import FILE_VARIABLE
from tests.support.platform import Platform, until

KEPT_OF_ENDED = {"log", "log.1"}
"""What is left of an ended session's own folder."""


def journal(state: Path) -> set[UUID]:
    """The sessions that run according to the lease journal; a torn last line is no record."""
    open_sessions: set[UUID] = set()
    data = (state / "journal" / JOURNAL_NAME).read_bytes()
    for line in data[: data.rfind(b"\n") + 1].splitlines():
        record = parse_journal_line(line)
        if isinstance(record, LeaseStarted):
            open_sessions.add(UUID(record.session))
        else:
            open_sessions.discard(UUID(record.session))
    return open_sessions


def views(platform: Platform) -> dict[str, set[UUID]]:
    """Which sessions there are, as each part that keeps account of them sees it."""
    folders = (platform.state / "sessions").glob("*")
    return {
        "processes": set(platform.sessions()),
        "leases": {UUID(row[0]) for row in platform.rows("select request_id from arcetri_lease")},
        "requests": {
            UUID(row[0])
            for row in platform.rows("select id from arcetri_request where state != 'ended'")
        },
        "journal": journal(platform.state),
        "folders": {
            UUID(folder.name)
            for folder in folders
            if {path.name for path in folder.iterdir()} - KEPT_OF_ENDED
        },
    }


def agree(platform: Platform, sessions: set[UUID], patience: float = 60) -> None:
    """Wait until exactly these sessions are there, for every part.

    Raises:
        AssertionError: They are not; the message has what each part sees, and the logs.
    """
    try:
        until(
            lambda: all(seen == sessions for seen in views(platform).values()),
            f"all parts see {sorted(map(str, sessions))}",
            patience,
        )
    except AssertionError as error:
        error.add_note(f"{views(platform)}\n{platform.logs()}")
        raise


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int, *, inodes: int = 0) -> Iterator[Path]:
    """Mount a disk of its own at a new folder; needs root.

    Args:
        folder: Where.
        megabytes: How much it holds.
        inodes: How many files and folders it holds, itself included; 0 for any number.
    """
    folder.mkdir(mode=0o700)
    options = f"size={megabytes}m,mode=700,nr_inodes={inodes}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(disk: Path) -> Path:
    """Leave not one byte; removing the returned file gives them back."""
    path = disk / "ballast"
    with path.open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)
    return path


class DyingHub:
    """The hub of a platform that runs with ``environment(file)``: it dies where it is told to."""

    def __init__(self, platform: Platform, file: Path) -> None:
        self.platform = platform
        self._file = file

    @staticmethod
    def environment(file: Path) -> dict[str, str]:
        """What ``platform.running`` must be given."""
        return {FILE_VARIABLE: str(file)}

    def dies(self, *points: str, when: Callable[[], object]) -> None:
        """Let the hub die at a point of ``when``, and return when it is back.

        At the points after the first it dies, one after the other, while it comes back. It is
        killed by itself and started again by the supervisor.

        Raises:
            AssertionError: It does not reach a point, or does not come back.
        """
        back = self._returns()
        for number, point in enumerate(points):
            self._file.write_text(point, encoding="ascii")
            if number == 0:
                # Whoever asked hears nothing, or of an error of the proxy's.
                with contextlib.suppress(httpx.HTTPError):
                    when()
            try:
                until(lambda: not self._file.exists(), f"the hub dies at {point}", 60)
            except AssertionError as error:
                self._file.unlink()
                error.add_note(self.platform.logs())
                raise
        until(lambda: self._returns() > back, f"the hub is back after {points}")

    def _returns(self) -> int:
        return self.platform.said().count("The hub is back")
