"""Keeps the agent's work in the spool, in memory while the spool cannot be written."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from typing import TypeVar

import pydantic_core
import structlog

from arcetri_accounting.agent.clock import Clock
from arcetri_accounting.agent.figures import Figures
from arcetri_accounting.agent.ledger import attachment
from arcetri_accounting.spool import Outbox, SpoolCorrupt, SpoolError, SpoolFull, SpoolLost
from arcetri_accounting.spool.newest import LARGEST

log = structlog.get_logger(__name__)

T = TypeVar("T")
Born = Callable[[], dict[str, str | int]]


class Keeper:
    """What has to be kept, and where it is."""

    def __init__(self, spool: Callable[[Born], Outbox], clock: Clock, figures: Figures) -> None:
        """Open the spool with ``spool``, which is given what to note of a new epoch's birth.

        Raises:
            SpoolError: It cannot be opened.
        """
        self._spool = spool
        self._clock = clock
        self._figures = figures
        self._lines: list[tuple[str, str | None, str]] = []
        self._attachments: dict[str, str] = {}
        self._fixed: Mapping[str, object] = {}
        """What is on the disk, by name."""
        self._full_since: int | None = None
        self._broken = False
        self._oldest: int | None = None
        """When the oldest record begins that waits; None where none does."""
        self._first: tuple[str, int] | None = None
        """Names that record."""
        self.outbox = spool(self._born)
        self._look_back()

    def state(self) -> dict[str, object] | None:
        """What was kept last; None in an epoch that has just begun."""
        return _read(self.outbox.kept())

    def news(self) -> dict[str, object] | None:
        """What is new of it since then; None where nothing is."""
        return _read(self.outbox.noted())

    def fixed(self, name: str) -> str:
        """What was kept once under a name.

        Raises:
            SpoolCorrupt: It is not there.
        """
        text = self.outbox.get(name)
        if text is None:
            raise SpoolCorrupt(self.outbox.path, "a part of the state is missing.")
        self._fixed = {**self._fixed, name: text}
        return text

    def add(
        self, boot: str, record: Mapping[str, object], holder: tuple[str, str, str, str] | None
    ) -> None:
        """Keep a record; ``holder`` is its allocation: key, JSON, account and account's name."""
        key = None
        if holder is not None:
            key = holder[0]
            self._attachments[key] = attachment(*holder[1:])
        self._lines.append((boot, key, json.dumps(record)))

    def gap(self, boot: str, code: str, t0: int, t1: int, detail: str) -> None:
        """Keep the note that something is not known."""
        gap = {"type": "gap", "code": code, "t0": t0, "t1": max(t0, t1), "detail": detail[:1000]}
        self.add(boot, gap, None)
        self._figures.gaps[code] += 1

    def goes_on(self, fixed: Mapping[str, object]) -> bool:
        """Whether nothing waits to be written, and what is written once is as it was.

        Args:
            fixed: As ``commit`` is given it.
        """
        return fixed is self._fixed and not self._lines and self._full_since is None

    def note(self, news: Mapping[str, object], *, durable: bool) -> bool:
        """Note what is new of the state, where everything goes on; False where it has to be kept.

        Args:
            news: Takes the place of what was noted before.
            durable: It is on the disk when this returns; else it outlives the process, not the
                machine.
        """
        text = pydantic_core.to_json(news)
        if self._broken or len(text) > LARGEST:
            return False
        try:
            self.outbox.note(text, durable=durable)
        except SpoolError:
            # What is wrong shows, and is dealt with, where the state is kept.
            return False
        self._look_back()
        return True

    def commit(
        self, state: Mapping[str, object], fixed: Mapping[str, T], dump: Callable[[T], str]
    ) -> bool:
        """Put everything on the disk; False where that cannot be done now.

        Args:
            state: What changes, written whole; what was noted of the one before counts no more.
            fixed: By name, what is written once and kept as long as its name is given; the very
                same mapping as the last time where nothing of it is another.
            dump: Makes text of one of those.
        """
        now = self._clock.now().wall
        boot = self._clock.boot_id
        try:
            if self._broken:
                self.begin_anew("The spool could not be opened for a while.")
            self._write(state, fixed, dump, boot, now)
        except (SpoolCorrupt, SpoolLost) as error:
            log.error("the spool is damaged or gone; a new epoch begins", error=str(error))
            self._figures.spool_errors += 1
            with contextlib.suppress(SpoolError):
                self.begin_anew(str(error))
                self._write(state, fixed, dump, boot, now)
                return True
        except SpoolError as error:
            self._figures.spool_errors += 1
            if isinstance(error, SpoolFull) and self._full_since is None:
                self._full_since = now
            log.error("the spool cannot be written; kept in memory", error=str(error))
        else:
            return True
        self._figures.unwritten = len(self._lines)
        return False

    def _write(
        self,
        state: Mapping[str, object],
        fixed: Mapping[str, T],
        dump: Callable[[T], str],
        boot: str,
        now: int,
    ) -> None:
        full = self._full_since
        with self.outbox.transaction() as transaction:
            for key, body in self._attachments.items():
                transaction.attach(key, body)
            for stream, key_of, body in self._lines:
                transaction.append(body, stream=stream, attachment=key_of)
            if full is not None:
                detail = "What was taken meanwhile was kept in memory, and is written now."
                gap = {"type": "gap", "code": "disk_full", "t0": full, "t1": now, "detail": detail}
                transaction.append(json.dumps(gap), stream=boot)
            if fixed is not self._fixed:
                for name in fixed.keys() - self._fixed.keys():
                    transaction.set(name, dump(fixed[name]))
                for name in self._fixed.keys() - fixed.keys():
                    transaction.unset(name)
            # For which the standard library takes three times as long.
            transaction.keep(pydantic_core.to_json(state).decode())
        if full is not None:
            self._figures.gaps["disk_full"] += 1
            self._full_since = None
        self._lines, self._attachments, self._fixed = [], {}, fixed
        self._figures.unwritten = 0
        self._look_back()

    def _look_back(self) -> None:
        """Keep in mind where the backlog begins, should its file not be readable later."""
        with contextlib.suppress(SpoolError):
            outbox = self.outbox
            waiting = self._figures.depth = outbox.depth()
            first = (outbox.epoch.id, outbox.last_seq() - waiting) if waiting else None
            if first != self._first:
                items = outbox.batch(1, 1)
                self._oldest = int(json.loads(items[0].body)["t0"]) if items else None
                self._first = first

    def begin_anew(self, why: str) -> None:
        """Set what is there aside and go on in a new epoch; what is in memory goes into it.

        Raises:
            SpoolError: No new one can be made; what is in memory stays there.
        """
        now = self._clock.now().wall
        if not self._broken:
            # A file that was removed can be read for as long as it is open.
            self._look_back()
            self.outbox.set_aside()
        self._broken = True
        self.outbox = self._spool(self._born)
        self._broken = False
        self._fixed = {}
        since = now if self._oldest is None else min(self._oldest, now)
        detail = f"Records that were not yet acknowledged are in the file set aside. {why}"
        self.gap(self._clock.boot_id, "spool_corrupt", since, now, detail)

    def _born(self) -> dict[str, str | int]:
        now = self._clock.now()
        return {"wall": now.wall, "boot": now.boot, "boot_id": self._clock.boot_id}


def _read(text: str | None) -> dict[str, object] | None:
    if text is None:
        return None
    read: dict[str, object] = json.loads(text)
    return read
