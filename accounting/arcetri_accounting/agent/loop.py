"""The cycle: look, read what began and ended, account, keep it, hand it over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import structlog

from arcetri_accounting import killpoints
from arcetri_accounting.agent import state
from arcetri_accounting.agent.allocations import (
    AllocationSource,
    Damaged,
    Event,
    SourceError,
    Started,
)
from arcetri_accounting.agent.books import Birth, Books, Cut, Holding, name_of
from arcetri_accounting.agent.clock import Clock, Instant
from arcetri_accounting.agent.describing import described
from arcetri_accounting.agent.figures import Figures
from arcetri_accounting.agent.keeper import Keeper
from arcetri_accounting.agent.ledger import Holders, Tail
from arcetri_accounting.agent.presence import Known, Presences
from arcetri_accounting.agent.processes import Processes
from arcetri_accounting.agent.readings import Reading, Track
from arcetri_accounting.agent.sampler import Sampler

log = structlog.get_logger(__name__)

KEPT_MS: Final = 900_000
"""How long readings wait to be accounted for where the source of allocations cannot be read."""
STEP_MS: Final = 1000
"""A wall clock that is so far off was set; a machine that is so far behind has slept."""
LOOKS: Final = 4
SPANS: Final = 100
"""Looks at a device and spans of its use that are kept, accounted for or not: to keep a few more
costs less than to go through all of them at every cycle."""
HEARTBEATS: Final = 1000
"""More batches than are sent between two cycles: after a restart none has an old number."""


@dataclass(frozen=True, slots=True)
class Held:
    """What only changes where a holding or a device is new or gone."""

    changes: tuple[int, int]
    """When that was, as the books and the presences count it."""
    devices: frozenset[str]
    """Of real GPUs, those that sessions hold."""
    holders: Holders
    """Whom those belong to that are held in this boot."""
    fixed: dict[str, Holding | Known]
    """By name, what is kept once."""


class Agent:
    """One node's agent. One thread calls ``cycle``, again and again."""

    def __init__(
        self,
        keeper: Keeper,
        source: AllocationSource,
        sampler: Sampler,
        clock: Clock,
        figures: Figures,
        interval_ms: int,
    ) -> None:
        """Go on from what the keeper has."""
        self._keeper = keeper
        self._source = source
        self._sampler = sampler
        self._clock = clock
        self._figures = figures
        self._processes = Processes()
        self._tracks: dict[str, Track] = {}
        self._named: dict[str, tuple[str, str, str, str]] = {}
        self._held: Held | None = None
        self._position = self._told = self._damaged = 0
        self._moved = False
        """Whether anything became another since the state was kept, other than by time going on."""
        self._states: list[str] = []
        self._first = True
        self._earliest: int | None = None
        self.heartbeat = 0
        born: Any = keeper.outbox.epoch.born
        birth = Birth(born["wall"], born["boot"], born["boot_id"])
        self.books = Books(clock.boot_id, birth, interval_ms)
        self.presences = Presences(self.books.patience)
        self._last = clock.now()
        self.books.offset = self._last.offset
        self._restore()

    def cycle(self, *, told: bool = True) -> None:
        """Do everything once. What may go wrong is noted, never raised.

        Args:
            told: The ledger is going to be told how far everything is: that is on the disk first.
                Else it is written so that it outlives the process.
        """
        now = self._clock.now()
        # First of all: what ended is to be known before anything is cut.
        self._events(now)
        self._clocks(now)
        self._look(now)
        now = self._clock.now()
        self._live(now)
        self._cuts(self.books.advance(now.boot, self._tracks))
        if self._first:
            self._cuts(self.books.close_other_boots())
            self._say_what_was_lost()
            self._first = False
        if told:
            # Often enough.
            self._forget()
        self._keep(now, told=told)

    def finish(self) -> None:
        """Account up to now and cut everything; the agent is going to end."""
        self.cycle()
        self._cuts(self.books.cut_all())
        self._presences(self.presences.cut_all())
        self._keep(self._clock.now(), told=True)
        self._processes.close()
        self._sampler.close()

    def tail(self) -> Tail:
        """What runs in this boot, as far as it is accounted for."""
        held = self._hold()
        boot = self.books.boot_id
        usages = [
            one.piece.usage(one.key, one.share_u)
            for one in self.books.holdings.values()
            if one.boot_id == boot
        ]
        return Tail(boot, usages, held.holders)

    def _hold(self) -> Held:
        """What is held; made anew only where something began, ended or became another."""
        changes = self.books.changes, len(self.presences.known)
        if self._held is None or self._held.changes != changes:
            self._held = self._look_up(changes)
        return self._held

    def _look_up(self, changes: tuple[int, int]) -> Held:
        holdings = self.books.holdings.values()
        keys = {one.key for one in holdings}
        for key in self._named.keys() - keys:
            del self._named[key]
        here = [self._name(one) for one in holdings if one.boot_id == self.books.boot_id]
        fixed: dict[str, Holding | Known] = {one.name: one for one in holdings}
        fixed.update((known.name, known) for known in self.presences.known.values())
        return Held(
            changes,
            frozenset(
                one.allocation.device
                for one in holdings
                if one.allocation.device
                and not one.allocation.simulated
                and one.allocation.flavor_type == "gpu"
            ),
            Holders(
                {key: text for key, text, _account, _username in here},
                {account: username for _key, _text, account, username in here},
            ),
            fixed,
        )

    def _clocks(self, now: Instant) -> None:
        last, self._last = self._last, now
        slept = (now.boot - last.boot) - (now.awake - last.awake)
        if slept >= STEP_MS:
            log.warning("the machine has slept", milliseconds=slept)
            detail = f"The machine slept {slept} ms."
            self._keeper.gap(self.books.boot_id, "suspended", last.wall, now.wall, detail)
        stepped = now.offset - last.offset
        if abs(stepped) >= STEP_MS:
            log.warning("the wall clock was set", milliseconds=stepped)
            t0, t1 = sorted((last.wall, now.wall))
            detail = f"The wall clock was set by {stepped} ms."
            self._keeper.gap(self.books.boot_id, "clock", t0, t1, detail)
        # It also drifts: what is cut should lie where other clocks would have it.
        if abs(now.offset - self.books.offset) >= STEP_MS:
            self._moved = True
            self._cuts(self.books.step(now.offset))
            self._presences(self.presences.step(now.offset))

    def _look(self, now: Instant) -> None:
        look = self._sampler.look(now, self._hold().devices)
        killpoints.reach("cycle.sampled")
        tracks, goes_on = self._tracks, self.presences.goes_on
        for reading in look.readings:
            uuid = reading.device.uuid
            track = tracks.get(uuid)
            if track is None:
                track = tracks[uuid] = Track()
            track.add(reading)
            if not goes_on(reading):
                self._noticed(reading)
        if look.present is not None:
            self._presences(self.presences.gone(look.present))
            for uuid in self._tracks.keys() - look.present:
                del self._tracks[uuid]
        figures = self._figures
        states = [known.state for known in self.presences.known.values()]
        if states != self._states:
            self._states, self._moved = states, True
        figures.devices_up, figures.devices_down = states.count("up"), states.count("down")
        figures.devices_silent = look.silent
        figures.nvml = int(look.available)

    def _noticed(self, reading: Reading) -> None:
        """A device is new, is back, is lost, is another, or its span is to be cut."""
        uuid = reading.device.uuid
        before, stood = self.presences.generation(uuid), self.presences.standing(uuid)
        self._presences(self.presences.see(reading, self.books.offset))
        if self.presences.standing(uuid) != stood:
            self._moved = True
        if (generation := self.presences.generation(uuid)) != before:
            self._cuts(self.books.regenerate(uuid, generation))

    def _events(self, now: Instant) -> None:
        try:
            events = self._source.poll(self._position)
        except SourceError as error:
            self._figures.source_errors += 1
            log.error("allocations cannot be read; tried again", error=str(error))
            return
        # The moment before it was read: the process may have been held up since.
        self.books.heard = now.boot
        for event in events:
            self._moved = True
            self._take(event, now)

    def _take(self, event: Event, now: Instant) -> None:
        if isinstance(event, Damaged):
            if event.seq > self._damaged:
                self._damaged = event.seq
                boot = self.books.boot_id
                self._keeper.gap(boot, "journal_damaged", now.wall, now.wall, event.detail)
            return
        self._position = event.seq
        if isinstance(event, Started):
            self.books.start(described(event, self.presences), self.presences.generation)
            self._earliest = min(event.wall, self._earliest or event.wall)
        elif not self.books.end(event):
            log.info("a session's end of which nothing is counted here", session=event.session)

    def _live(self, now: Instant) -> None:
        holdings = [
            one
            for one in self.books.holdings.values()
            if one.pid and one.boot_id == self.books.boot_id
        ]
        alive = self._processes.alive((one.pid, one.pid_start_ticks) for one in holdings)
        for one in holdings:
            if (one.pid, one.pid_start_ticks) in alive:
                one.alive_at = now.boot
        for place, at in self._source.alive().items():
            held = self.books.holdings.get(place)
            if held is not None and at > held.alive_at:
                held.alive_at = at

    def _cuts(self, cuts: Iterable[Cut]) -> None:
        for cut in cuts:
            one = cut.holding
            record = {"type": "segment", **cut.piece.usage(one.key, one.share_u)}
            self._keeper.add(one.boot_id, record, self._name(one))
            self._figures.segments += 1

    def _presences(self, records: Iterable[dict[str, object]], boot: str | None = None) -> None:
        for record in records:
            self._keeper.add(boot or self.books.boot_id, record, None)
            self._figures.presences += 1

    def _name(self, holding: Holding) -> tuple[str, str, str, str]:
        found = self._named.get(holding.key)
        if found is None:
            allocation = holding.allocation
            text = allocation.model_dump_json()
            found = (holding.key, text, allocation.account, holding.username)
            self._named[holding.key] = found
        return found

    def _forget(self) -> None:
        tracks = [
            (uuid, track)
            for uuid, track in self._tracks.items()
            if len(track.looks) > LOOKS or len(track.busy) > SPANS
        ]
        if not tracks:
            return
        through: dict[str, int] = {}
        for (_session, device), one in self.books.holdings.items():
            reached = one.piece.through
            if reached <= through.get(device, reached):
                through[device] = reached
        for uuid, track in tracks:
            unread = through.get(uuid, track.horizon - self.books.patience)
            oldest = track.horizon - KEPT_MS
            track.forget(unread if unread > oldest else oldest)

    def _say_what_was_lost(self) -> None:
        epoch = self._keeper.outbox.epoch
        if not epoch.fresh:
            return
        born = self.books.birth.wall
        since = min(born, self._earliest or born)
        boot = self.books.boot_id
        if epoch.set_aside is not None:
            detail = f"The damaged spool is kept as {epoch.set_aside.name}."
            self._keeper.gap(boot, "spool_corrupt", since, born, detail)
        elif self._source.known_before() > 0:
            detail = "There was a spool, and it is gone: sessions are counted from here on."
            self._keeper.gap(boot, "spool_lost", since, born, detail)

    def _keep(self, now: Instant, *, told: bool) -> None:
        self.heartbeat = max(self.heartbeat + 1, now.wall)
        figures = self._figures
        figures.cycles += 1
        figures.holdings = len(self.books.holdings)
        fixed = self._hold().fixed
        clock = [self._last.wall, self._last.boot, self._last.awake]
        if not self._moved and self._keeper.goes_on(fixed):
            # Nearly always.
            news = state.dump_news(self.books, self.presences)
            if self._keeper.note(
                {"heartbeat": self.heartbeat, "clock": clock, **news}, durable=told
            ):
                return
        kept = {
            "v": 1,
            "boot": self.books.boot_id,
            "position": self._position,
            "damaged": self._damaged,
            "heartbeat": self.heartbeat,
            "offset": self.books.offset,
            "clock": clock,
            "holdings": state.dump_holdings(self.books),
            "devices": state.dump_devices(self.presences),
        }
        if not self._keeper.commit(kept, fixed, state.dump_fixed):
            return
        self._moved = False
        # What is acknowledged may be gone where it was read.
        if self._position > self._told:
            try:
                self._source.acknowledge(self._position)
                self._told = self._position
            except SourceError as error:
                # Tried again in the next cycle.
                self._moved = True
                figures.source_errors += 1
                log.error("the journal cannot be acknowledged; tried again", error=str(error))

    def _restore(self) -> None:
        kept: Any = self._keeper.state()
        if kept is None:
            return
        self._position, self._damaged = kept["position"], kept["damaged"]
        self.heartbeat = kept["heartbeat"] + HEARTBEATS
        for row in kept["holdings"]:
            fixed = self._keeper.fixed(name_of(row[0], row[1]))
            holding = state.load_holding(row, kept["boot"], fixed)
            self.books.holdings[row[0], row[1]] = holding
        for row in kept["devices"]:
            fixed = self._keeper.fixed(f"device {row[0]}")
            self.presences.known[row[0]] = state.load_device(row, fixed)
        news: Any = self._keeper.news()
        if news is not None:
            self.heartbeat = news["heartbeat"] + HEARTBEATS
            kept["clock"] = news["clock"]
            state.load_news(news, self.books, self.presences)
        if kept["boot"] == self.books.boot_id:
            self._last = Instant(*kept["clock"])
            self.books.offset = kept["offset"]
        else:
            self._presences(self.presences.reboot(), kept["boot"])
