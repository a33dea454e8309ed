"""The second witness: every start and end the spawner records, delivered to the ledger once.

``tell`` writes to a spool and returns; a ledger that is away costs nothing but room. What the spool
refuses (a full disk) is kept in memory and tried again, and is told anew from the journal should
the process end meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import threading
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx
import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from arcetri_accounting.client.bearer import authorization
from arcetri_accounting.contract.usage import Acknowledgement
from arcetri_accounting.spool import Item, Outbox, SpoolCorrupt, SpoolError, SpoolLost

if TYPE_CHECKING:
    from arcetri_accounting.contract.journal import LeaseEnded, LeaseStarted
    from arcetri_accounting.contract.witness import CatalogSnapshot

log = structlog.get_logger(__name__)

_BATCH: Final = 500
_BATCH_BYTES: Final = 1024 * 1024
_TIMEOUT: Final = 20.0
_PAUSE: Final = (1.0, 60.0)
"""Seconds before the first try again, and at most."""
_GATHER: Final = 2.0
"""Seconds for which news is gathered."""
_MAX_PAGES: Final[int | None] = None
"""Of 4 KiB, that the spool may have; no limit but the disk."""
_JOURNAL: Final = "journal"
_CATALOG: Final = "catalog"
_SESSIONS: Final = "sessions"
_REMEMBERED: Final = 500
"""Ends that are remembered: their pods may still be there, and be seen again."""


class Witness:
    """Keeps what it is told, and delivers it while ``run`` runs."""

    def __init__(
        self, spool: Path, ledger: str, token_file: Path, *, writer: str, node: str
    ) -> None:
        """Open the spool.

        Args:
            spool: The file that keeps what is not acknowledged.
            ledger: The ledger's address with its prefix and a slash at the end.
            token_file: Holds the writer's token and nothing else; read at each delivery.
            writer: Who tells, as the ledger's credentials name it.
            node: The machine that the sessions run on.

        Raises:
            SpoolError: The spool cannot be used.
        """
        self._path = spool
        self._url = f"{ledger}api/v1/witness"
        self._token_file = token_file
        self._writer = writer
        self._node = node
        self._lock = threading.Lock()
        self._outbox = Outbox(spool, _born, max_pages=_MAX_PAGES)
        self._waiting: deque[tuple[str, str, str]] = deque()
        """What the spool has not taken yet: the event's JSON, and what to note with it."""
        self._sessions = _Sessions.model_validate_json(self._noted(_SESSIONS) or "{}")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()

    def tell(self, record: LeaseStarted | LeaseEnded) -> None:
        """Take a record of the journal; one that was told before is passed over. Never raises."""
        mark = f"{record.seq} {record.at.isoformat()}"
        # The journal is one machine's and does not name it.
        body = json.dumps(record.model_dump(mode="json", exclude={"seq"}) | {"node": self._node})
        with self._lock:
            if not self._is_new(record):
                return
            self._waiting.append((body, _JOURNAL, mark))
            self._keep()

    def saw(self, record: LeaseStarted | LeaseEnded, node: str) -> None:
        """Take what was seen of a session on some node of a cluster, where no journal keeps it.

        Each session's start is told once, and so is its end, also across a restart; an end whose
        start was never told is passed over. Never raises.

        Args:
            record: The start or the end; its number does not matter.
            node: Where it was; empty for an end of which it is not known: it is the start's.
        """
        with self._lock:
            sessions = self._sessions
            if record.type == "start":
                if record.session in sessions.open or record.session in sessions.over:
                    return
                sessions = sessions.started(record.session, node)
            elif record.session not in sessions.open:
                return
            else:
                node = node or sessions.open[record.session]
                sessions = sessions.ended(record.session)
            self._sessions = sessions
            body = record.model_dump(mode="json", exclude={"seq"}) | {"node": node}
            self._waiting.append((json.dumps(body), _SESSIONS, sessions.model_dump_json()))
            self._keep()

    def tell_catalog(self, snapshot: CatalogSnapshot) -> None:
        """Take a catalog that holds from now on; the one told last is passed over. Never raises."""
        body = f'{{"v":1,"type":"catalog","snapshot":{snapshot.model_dump_json()}}}'
        with self._lock:
            if self._noted(_CATALOG) == snapshot.digest:
                return
            self._waiting.append((body, _CATALOG, snapshot.digest))
            self._keep()

    async def run(self) -> None:
        """Deliver what is kept, and what comes, for ever."""
        self._loop = asyncio.get_running_loop()
        first, longest = _PAUSE
        pause = first
        async with httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False) as client:
            while True:
                try:
                    self._news.clear()
                    outbox, items = await asyncio.to_thread(self._next)
                    if not items:
                        with contextlib.suppress(TimeoutError):
                            await asyncio.wait_for(self._news.wait(), longest)
                            # When a course begins, its twenty starts are one delivery.
                            await asyncio.sleep(_GATHER)
                        continue
                    await self._deliver(client, outbox, items)
                    pause = first
                except _Undelivered as error:
                    log.warning("the ledger was not told yet", why=str(error), next_s=round(pause))
                    # Not all at the same moment, when the ledger comes back.
                    await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
                    pause = min(pause * 2, longest)

    def close(self) -> None:
        """Let another process have the spool; what is kept stays."""
        with self._lock:
            self._outbox.close()

    @property
    def depth(self) -> int:
        """How many events wait for the ledger."""
        with self._lock:
            try:
                return len(self._waiting) + self._outbox.depth()
            except SpoolError:
                return len(self._waiting)

    def _is_new(self, record: LeaseStarted | LeaseEnded) -> bool:
        last = next((mark for _, name, mark in reversed(self._waiting) if name == _JOURNAL), None)
        last = last or self._noted(_JOURNAL)
        if last is None:
            return True
        seq, at = last.split(" ", 1)
        # A journal that was begun anew counts from 1 again; its records are later ones.
        return record.seq > int(seq) or record.at > datetime.fromisoformat(at)

    def _noted(self, name: str) -> str | None:
        try:
            return self._outbox.get(name)
        except SpoolError:
            return None

    def _keep(self) -> None:
        """Move what waits into the spool, in order; what cannot be moved waits on."""
        try:
            with self._outbox.transaction() as transaction:
                for body, name, mark in self._waiting:
                    transaction.append(body)
                    transaction.set(name, mark)
            self._waiting.clear()
        except (SpoolCorrupt, SpoolLost) as error:
            log.error("the witness's spool is lost; a new one begins", why=str(error))
            self._renew(error)
        except SpoolError as error:
            log.warning("an event for the ledger is kept in memory only", why=str(error))
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._news.set)

    def _renew(self, error: SpoolError) -> None:
        try:
            if isinstance(error, SpoolCorrupt):
                self._outbox.set_aside()
            else:
                self._outbox.close()
            self._outbox = Outbox(self._path, _born, max_pages=_MAX_PAGES)
        except (SpoolError, OSError) as again:
            log.warning("no spool for the witness yet", why=str(again))

    def _next(self) -> tuple[Outbox, list[Item]]:
        """What is to be delivered, and the spool that it is from: another may begin meanwhile."""
        with self._lock:
            try:
                if self._waiting:
                    self._keep()
                return self._outbox, self._outbox.batch(_BATCH, _BATCH_BYTES)
            except SpoolError as error:
                raise _Undelivered(str(error)) from error

    async def _deliver(self, client: httpx.AsyncClient, outbox: Outbox, items: list[Item]) -> None:
        epoch = outbox.epoch.id
        events = ",".join(item.numbered() for item in items)
        body = f'{{"v":1,"writer":"{self._writer}","epoch":"{epoch}","events":[{events}]}}'
        try:
            headers = await authorization(self._token_file)
            answer = await client.post(
                self._url,
                content=body.encode(),
                headers={**headers, "Content-Type": "application/json"},
            )
            if answer.status_code != httpx.codes.OK:
                raise _Undelivered(f"the ledger answered {answer.status_code}")
            said = Acknowledgement.model_validate_json(answer.content)
        except (httpx.HTTPError, OSError) as error:
            raise _Undelivered(type(error).__name__) from error
        except ValidationError as error:
            raise _Undelivered("the ledger's answer is none") from error
        if said.epoch != epoch or said.acknowledged < items[0].seq:
            raise _Undelivered("the ledger acknowledges nothing of what it was sent")
        try:
            await asyncio.to_thread(outbox.acknowledge, said.acknowledged)
        except (SpoolError, ValueError) as error:
            raise _Undelivered(str(error)) from error


class _Sessions(BaseModel):
    """Sessions of a cluster, as far as they were told."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    open: dict[str, str] = {}
    """Those that were told to have begun, with their nodes."""
    over: tuple[str, ...] = ()
    """The last ones that were told to have ended."""

    def started(self, session: str, node: str) -> _Sessions:
        return _Sessions(open={**self.open, session: node}, over=self.over)

    def ended(self, session: str) -> _Sessions:
        left = {one: node for one, node in self.open.items() if one != session}
        return _Sessions(open=left, over=(*self.over, session)[-_REMEMBERED:])


class _Undelivered(Exception):
    """Try again later."""


def _born() -> dict[str, str | int]:
    return {"at": datetime.now(UTC).isoformat()}
