"""Sends what the spool holds, and the tail, until the ledger has acknowledged it.

A thread of its own: no cycle waits for the network. Nothing is forgotten that was not acknowledged.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

import structlog

from arcetri_accounting import killpoints
from arcetri_accounting.agent.clock import Clock
from arcetri_accounting.agent.figures import Figures
from arcetri_accounting.agent.ledger import Envelope, Nonsense, Tail, decode, encode
from arcetri_accounting.agent.transport import Answer, Transport, Unreachable
from arcetri_accounting.spool import Outbox, SpoolError

log = structlog.get_logger(__name__)

LIMIT = 500
"""Records in a batch; with a tail and its allocations it stays far below what a batch may hold."""
MAX_BYTES = 1024 * 1024
BACKOFF_MAX = 60.0
"""Seconds between tries at most: a ledger that is back is known about within this time."""
IN_A_ROW = 50
"""Batches that are sent before the shipper looks up again."""


@dataclass(frozen=True, slots=True)
class Post:
    """What the cycle hands over."""

    outbox: Outbox
    tail: Tail
    heartbeat: int
    """No batch that was sent before has one as high as this."""


class Shipper:
    """Delivers in the background; ``offer`` never waits."""

    def __init__(
        self,
        node: str,
        transport: Transport,
        clock: Clock,
        figures: Figures,
        interval_ms: int,
        *,
        backoff: float = 1.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Send as ``node``; after a failure pause ``backoff`` seconds, then twice that, and so on.

        ``jitter`` is drawn from 0 to 1, and shortens a pause by at most a half.
        """
        self._node = node
        self._transport = transport
        self._clock = clock
        self._figures = figures
        self._interval_ms = interval_ms
        self._backoff = backoff
        self._jitter = jitter
        self._post: Post | None = None
        self._bell: SimpleQueue[None] = SimpleQueue()
        """Rings where there is something to do."""
        self._stop = threading.Event()
        self._failures = 0
        self._limit = LIMIT
        self._heartbeat = 0
        self._thread = threading.Thread(target=self._run, name="shipper", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def offer(self, post: Post) -> None:
        """There is something new to tell."""
        self._post = post
        self._bell.put(None)

    def finish(self, timeout: float) -> None:
        """Try once more, whatever failed before, and stop; returns after ``timeout`` at most."""
        self._stop.set()
        self._bell.put(None)
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            self._bell.get()
            while not self._bell.empty():
                # Whatever rang: it is all done at once.
                self._bell.get()
            last = self._stop.is_set()
            post = self._post
            if post is not None:
                try:
                    self._deliver(post)
                except Exception:  # a fault here must not end the deliveries for good
                    log.exception("a delivery failed")
                    self._fail("failed")
            if last:
                self._transport.close()
                return
            if self._failures:
                pause = min(self._backoff * 2.0 ** min(self._failures - 1, 10), BACKOFF_MAX)
                self._stop.wait(pause * (0.5 + self._jitter() / 2))
                self._bell.put(None)

    def _deliver(self, post: Post) -> None:
        for _ in range(IN_A_ROW):
            self._heartbeat = max(self._heartbeat + 1, post.heartbeat)
            try:
                more = self._send(post)
            except SpoolError as error:
                # The cycle sees the same and does what has to be done.
                log.warning("the spool cannot be read", error=str(error))
                return
            if not more or self._stop.is_set():
                return
        self._bell.put(None)

    def _send(self, post: Post) -> bool:
        """Send one batch; True when another one should follow at once."""
        outbox = post.outbox
        # Read first: what is appended from here on is above it.
        last = outbox.last_seq()
        items = outbox.batch(self._limit, MAX_BYTES)
        keys = {item.attachment for item in items if item.attachment is not None}
        depth = outbox.depth()
        killpoints.reach("ship.read")
        envelope = Envelope(
            self._node,
            outbox.epoch.id,
            self._heartbeat,
            self._clock.now().wall,
            self._interval_ms,
            max(depth - len(items), 0),
            items[0].seq if items else last + 1,
        )
        body = encode(envelope, items, outbox.attachments(keys), post.tail)
        try:
            answer = self._transport.post(body)
        except (Unreachable, OSError) as error:
            self._fail("unreachable", str(error))
            return False
        killpoints.reach("ship.sent")
        if not self._accepted(answer, outbox, items[-1].seq if items else 0):
            return False
        killpoints.reach("ship.acknowledged")
        self._figures.depth = outbox.depth()
        return bool(items) and depth > len(items)

    def _accepted(self, answer: Answer, outbox: Outbox, last_sent: int) -> bool:
        if answer.status == 413 and self._limit > 1:
            self._limit = max(self._limit // 2, 1)
        if answer.status != 200:
            kind = "refused" if 400 <= answer.status < 500 else "failed"
            kind = kind if answer.status >= 400 else "nonsense"
            self._fail(kind, f"status {answer.status}", _REMEDIES.get(answer.status, ""))
            return False
        try:
            said = decode(answer.body, outbox.epoch.id, last_sent, outbox.last_seq())
        except Nonsense as error:
            self._fail("nonsense", str(error))
            return False
        if self._failures:
            log.info("the ledger accepts again", failures=self._failures)
        self._failures = 0
        if self._limit < LIMIT:
            self._limit = min(self._limit * 2, LIMIT)
        figures = self._figures
        figures.deliveries["accepted"] += 1
        figures.last_delivery = self._clock.now().wall
        if said.quarantined:
            figures.quarantined += len(said.quarantined)
            log.error("the ledger has set records aside", seqs=said.quarantined[:20])
        if not last_sent:
            return True
        gone = outbox.acknowledge(said.acknowledged)
        figures.acknowledged += gone
        # What arrived and is not acknowledged: something before it is missing there.
        return gone > 0

    def _fail(self, kind: str, why: str = "", remedy: str = "") -> None:
        self._failures += 1
        self._figures.deliveries[kind] += 1
        # Once a minute is enough for a ledger that stays away.
        if self._failures <= 3 or self._failures % 10 == 0:
            log.warning(
                "not delivered; it stays in the spool and is tried again",
                kind=kind,
                why=why[:300],
                remedy=remedy,
                failures=self._failures,
            )


_REMEDIES = {
    401: "Check the token in --token-file: the ledger does not know it.",
    403: "The token is another node's: check --node and --token-file.",
    404: "Check --ledger: there is no ledger at this address.",
    413: "Fewer records are sent at once.",
    429: "The ledger limits how often it is written to; nothing has to be done.",
}
