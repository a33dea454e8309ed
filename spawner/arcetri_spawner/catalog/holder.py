"""The catalog in use: reloaded when its file changes, kept when the new one is bad.

Kept across restarts too, where the holder is told where: a hub that dies while the file is broken
must come back all the same.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from arcetri_spawner import killpoints
from arcetri_spawner.catalog.findings import Finding
from arcetri_spawner.catalog.loading import (
    CheckResult,
    parse,
    read_bounded,
    refused,
    unreadable,
)
from arcetri_spawner.catalog.models import LoadedCatalog

log = structlog.get_logger(__name__)

_SETTLE = 0.2
"""Seconds for which a file must stay as it is before it is read: an editor may still be writing."""

_Signature = tuple[int, int, int, int, int] | str


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """What a look at the file came to."""

    changed: bool
    """A new catalog is in use."""
    refused: bool
    """The file is not usable; the last good catalog stays."""
    catalog: LoadedCatalog
    """The catalog in use now."""
    findings: tuple[Finding, ...] = ()
    """All that the check of the file found, warnings too."""


class CatalogHolder:
    """Holds the catalog in use. One writer; readers take `current` once for each decision.

    Args:
        path: The file.
        keep: Where to keep a copy of the last good one, which serves when the first look finds the
            file broken; None keeps none.

    Raises:
        CatalogError: The first catalog cannot be used, and there is no copy of a good one.
    """

    def __init__(self, path: Path, *, keep: Path | None = None) -> None:
        self._path = Path(path)
        self._keep = keep
        self._subscribers: list[Callable[[ReloadResult], None]] = []
        look = _look(self._path)
        self._seen = look.signature
        self._refused: tuple[Finding, ...] = ()
        found = look.result.catalog
        if found is None:
            found = _kept(keep, self._path)
            if found is None:
                raise refused(self._path, look.result.findings)
            self._refused = look.result.findings
        else:
            self._save(look.data)
        self._current = found

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    @property
    def current(self) -> LoadedCatalog:
        """The last good catalog."""
        return self._current

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong with the file as it is now, while the last good catalog serves; else ()."""
        return self._refused

    def subscribe(self, callback: Callable[[ReloadResult], None]) -> Callable[[], None]:
        """Call back whenever a saved file was taken or refused; returns how to end that."""
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    def reload(self) -> ReloadResult:
        """Look at the file now, and take it when it is good."""
        return self._take(_look(self._path))

    async def watch(self, interval: float = 1.0) -> None:
        """Reload when the file changes, for ever. A file is read once it has settled."""
        pending: _Signature | None = None
        while True:
            await asyncio.sleep(min(interval, _SETTLE) if pending is not None else interval)
            now = await asyncio.to_thread(_signature, self._path)
            if now == self._seen:
                pending = None
            elif now != pending:
                pending = now
            else:
                pending = None
                self._take(await asyncio.to_thread(_look, self._path))

    def _take(self, look: _Look) -> ReloadResult:
        news = look.signature != self._seen
        self._seen, result = look.signature, look.result
        if result.catalog is None:
            self._refused = result.findings
            outcome = ReloadResult(False, True, self._current, result.findings)
        else:
            changed = result.catalog.digest != self._current.digest
            self._refused = ()
            if changed:
                self._current = result.catalog
                self._save(look.data)
            outcome = ReloadResult(changed, False, self._current, result.findings)
        if news:
            for callback in tuple(self._subscribers):
                callback(outcome)
        return outcome

    def _save(self, data: bytes) -> None:
        if self._keep is None:
            return
        # Always the same name: what a killed hub leaves of it, the next one writes over.
        temporary = self._keep.with_name(f"{self._keep.name}.new")
        try:
            try:
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                killpoints.reach("catalog.writing")
                temporary.replace(self._keep)
                killpoints.reach("catalog.written")
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        except OSError as error:
            log.warning("no copy of the catalog is kept", path=str(self._keep), why=error.strerror)


@dataclass(frozen=True, slots=True)
class _Look:
    """The file at one moment."""

    signature: _Signature
    data: bytes
    result: CheckResult


def _look(path: Path) -> _Look:
    before = _signature(path)
    try:
        data = read_bounded(path)
    except OSError as error:
        return _Look(before, b"", CheckResult((unreadable(path, error),), None))
    return _Look(before, data, parse(data, str(path)))


def _kept(keep: Path | None, path: Path) -> LoadedCatalog | None:
    """The copy of the last good catalog, as if read from its file; None when there is none."""
    if keep is None:
        return None
    try:
        return parse(read_bounded(keep), str(path)).catalog
    except OSError:
        return None


def _signature(path: Path) -> _Signature:
    """Return what changes when the file does, however it is replaced."""
    try:
        status = path.stat()
    except OSError as error:
        return type(error).__name__
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
