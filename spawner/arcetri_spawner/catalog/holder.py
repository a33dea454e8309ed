"""The catalog in use: reloaded when its file changes, kept when the new one is bad."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from arcetri_spawner.catalog.findings import Finding
from arcetri_spawner.catalog.loading import CheckResult, check, refused
from arcetri_spawner.catalog.models import LoadedCatalog

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

    Raises:
        CatalogError: The first catalog cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = Path(path)
        self._subscribers: list[Callable[[ReloadResult], None]] = []
        self._seen = _signature(self._path)
        result = check(self._path)
        if result.catalog is None:
            raise refused(self._path, result.findings)
        self._current = result.catalog
        self._refused: tuple[Finding, ...] = ()
        self._last: tuple[Finding, ...] = result.findings

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
        """Call back after every change and every refusal; returns how to end that."""
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    def reload(self) -> ReloadResult:
        """Look at the file now, and take it when it is good."""
        return self._take(*_look(self._path))

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
                self._take(*await asyncio.to_thread(_look, self._path))

    def _take(self, seen: _Signature, result: CheckResult) -> ReloadResult:
        self._seen = seen
        if result.catalog is None:
            news = result.findings != self._refused
            self._refused = result.findings
            outcome = ReloadResult(False, True, self._current, result.findings)
        else:
            news = result.catalog.digest != self._current.digest or bool(self._refused)
            changed = result.catalog.digest != self._current.digest
            self._refused = ()
            if changed:
                self._current = result.catalog
            outcome = ReloadResult(changed, False, self._current, result.findings)
        if news:
            for callback in tuple(self._subscribers):
                callback(outcome)
        return outcome


def _look(path: Path) -> tuple[_Signature, CheckResult]:
    before = _signature(path)
    return before, check(path)


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
