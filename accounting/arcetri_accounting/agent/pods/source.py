"""A cluster's node as a source of allocations."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path
from typing import Final

from arcetri_accounting import killpoints
from arcetri_accounting.agent.allocations import Damaged, Event
from arcetri_accounting.agent.clock import Clock
from arcetri_accounting.agent.figures import Figures
from arcetri_accounting.agent.pods.devices import Listing
from arcetri_accounting.agent.pods.joining import Joiner, Terms
from arcetri_accounting.agent.pods.kubelet import Kubelet, Lister
from arcetri_accounting.agent.pods.record import Record
from arcetri_accounting.agent.pods.watching import PodWatch
from arcetri_accounting.client.apiserver import ApiServer

MARGIN_MS: Final = 5_000
"""How much later than it happened the kubelet's list may still have a container that has ended."""
_LISTINGS: Final = 100


class PodSource:
    """Implements ``AllocationSource``; ``start`` begins to look."""

    def __init__(
        self,
        terms: Terms,
        record: Path,
        socket: Path,
        server: ApiServer,
        clock: Clock,
        figures: Figures,
        period_s: float,
    ) -> None:
        """Go on from what the record has.

        Args:
            terms: Of the node, and of the sessions on it.
            record: The file that keeps what was told.
            socket: The kubelet's PodResources.
            server: The API server, and as whom it is asked.
            clock: The node's.
            figures: What goes wrong is counted there.
            period_s: Seconds between two questions to the kubelet.

        Raises:
            OSError: The record cannot be read.
        """
        self._clock = clock
        self._record = Record(record, clock.now().wall)
        self._joiner = Joiner(
            terms, clock.boot_id, self._record.born, self._record.tracks, self._record.seq
        )
        self._listings: deque[Listing] = deque(maxlen=_LISTINGS)
        self._lock = threading.Lock()
        self._unwritten = False
        kubelet = Kubelet(socket, terms.node, clock)
        self._lister = Lister(kubelet, self._listings.append, figures, period_s)
        self._watch = PodWatch(server, terms.node, clock, figures, self._lister.soon)

    def start(self) -> None:
        """Begin to ask the kubelet and to follow pods."""
        self._watch.start()
        self._lister.start()

    def close(self) -> None:
        """Stop."""
        self._watch.close()
        self._lister.close()

    def poll(self, after: int) -> list[Event]:
        """What has begun and ended since; see ``AllocationSource``."""
        joiner = self._joiner
        # A record that was lost counts on from what the agent has.
        joiner.seq = max(joiner.seq, after)
        # Before what the API server says: a container is in both once it runs.
        while self._listings:
            joiner.hear(self._listings.popleft())
        snapshot = self._watch.snapshot()
        if snapshot is not None:
            self._unwritten |= joiner.join(snapshot, self._clock.now())
            self._unwritten |= joiner.forget(self._record.acknowledged, snapshot.pods)
        if self._unwritten:
            # Nothing is told before it is kept: told again after a crash, it has the same number.
            self._record.write(joiner.tracks, joiner.seq, self._record.acknowledged)
            self._unwritten = False
        killpoints.reach("pods.kept")
        return self._events(after)

    def acknowledge(self, seq: int) -> None:
        """Note that everything up to this number is kept by the agent."""
        self._record.write(self._joiner.tracks, self._joiner.seq, seq)

    def known_before(self) -> int:
        """The highest number that the record says was acknowledged."""
        return self._record.acknowledged

    def alive(self) -> dict[tuple[str, str], int]:
        """Up to when holdings are known to last: what the kubelet's list had, less a margin."""
        return {
            track.place: max(track.seen - MARGIN_MS, track.started.boot)
            for track in self._joiner.tracks
            if track.ended is None and track.seen >= 0
        }

    def _events(self, after: int) -> list[Event]:
        events: list[Event] = []
        if self._record.damaged:
            events.append(Damaged(after + 1, self._record.damaged))
            self._record.damaged = ""
        for track in self._joiner.tracks:
            events.append(track.started)
            if track.ended is not None:
                events.append(track.ended)
        fresh = [one for one in events if one.seq > after]
        return sorted(fresh, key=lambda one: one.seq)
