"""Makes starts and ends of what the kubelet and the API server say. Pure.

An allocation goes from its container's start to its container's end, as the pod's status has them.
Where no status says the end, because the pod was taken away by force or while nobody looked, it is
when the kubelet last had it in its list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog

from arcetri_accounting.agent.allocations import Ended, Started
from arcetri_accounting.agent.clock import Instant
from arcetri_accounting.agent.pods.devices import (
    Assigned,
    Device,
    Listing,
    PodEntry,
    accelerators,
    slice_share,
    type_of,
)
from arcetri_accounting.agent.pods.facts import (
    BadMarks,
    Gone,
    Life,
    Marked,
    Pod,
    Snapshot,
    read_marks,
)
from arcetri_accounting.contract.podmarks import INSTANCE, NOTEBOOK_CONTAINER, OUTSIDE
from arcetri_accounting.contract.usage import Allocation

log = structlog.get_logger(__name__)

REMEMBERED_MS: Final = 120_000
"""How long what a pod held is remembered after the kubelet lists it no more."""
_Name = tuple[str, str]


@dataclass(slots=True)
class Track:
    """One allocation, from its start on: what was told of it."""

    uid: str
    """Of its pod: another pod of the same name is another."""
    namespace: str
    name: str
    container: str
    boot_id: str
    started: Started
    """With one allocation."""
    ended: Ended | None = None
    seen: int = -1
    """When the kubelet last had it in its list, since this process began; -1 for not yet."""

    @property
    def device(self) -> str:
        """Which device it is of; empty for none."""
        return self.started.allocations[0].device

    @property
    def place(self) -> tuple[str, str]:
        """By what the books know it."""
        return self.started.session, self.device


@dataclass(frozen=True, slots=True)
class Terms:
    """What a joiner has to know of its node."""

    node: str
    namespaces: frozenset[str]
    """Where sessions run: what pods elsewhere say of themselves is not believed."""
    resources: tuple[str, ...]
    """What the names of accelerators begin with."""
    instance: str = ""
    """The one platform whose sessions are counted as sessions; empty for each that is there."""


@dataclass(slots=True)
class Joiner:
    """What is remembered between two looks."""

    terms: Terms
    boot_id: str
    born: int
    """Since when, in milliseconds since 1970, allocations are counted: before that nobody knows
    what was told already."""
    tracks: list[Track] = field(default_factory=list)
    seq: int = 0
    _entries: dict[_Name, tuple[int, tuple[PodEntry, ...]]] = field(default_factory=dict)
    """By pod, when the kubelet had it in its list last, and what it said."""
    _heard: int = -1
    """When the kubelet said something last."""
    _replicas: Mapping[str, int] = field(default_factory=dict)
    _bad: set[str] = field(default_factory=set)

    def hear(self, listing: Listing) -> None:
        """Take what the kubelet says."""
        self._heard = listing.at
        self._replicas = listing.replicas
        found: dict[_Name, tuple[PodEntry, ...]] = {}
        for entry in listing.entries:
            name = entry.namespace, entry.name
            found[name] = (*found.get(name, ()), entry)
        for name, entries in found.items():
            self._entries[name] = listing.at, self._by_age(name, entries)
        for name in [n for n, one in self._entries.items() if listing.at - one[0] > REMEMBERED_MS]:
            del self._entries[name]
        for track in self.tracks:
            if track.ended is None and self._lists(track, found.get((track.namespace, track.name))):
                track.seen = max(track.seen, listing.at)

    def join(self, snapshot: Snapshot, now: Instant) -> bool:
        """Take what the API server says; True where something began or ended."""
        before = self.seq
        gone = {one.pod.uid: one for one in snapshot.gone}
        self._end(snapshot.pods, gone, now)
        for left in snapshot.gone:
            self._begin(left.pod, now, gone=True)
        for pod in snapshot.pods.values():
            self._begin(pod, now)
        self._end(snapshot.pods, gone, now)
        return self.seq != before

    def forget(self, acknowledged: int, there: Iterable[str]) -> bool:
        """Drop what has ended, was acknowledged and is of no pod that is still there."""
        uids = set(there)
        kept = [
            one
            for one in self.tracks
            if one.ended is None or one.ended.seq > acknowledged or one.uid in uids
        ]
        changed = len(kept) != len(self.tracks)
        self.tracks = kept
        return changed

    def _by_age(self, name: _Name, entries: tuple[PodEntry, ...]) -> tuple[PodEntry, ...]:
        """Entries of one name, those that the list had before first: pods that bore it in turn."""
        _, known = self._entries.get(name, (-1, ()))
        return tuple(sorted(entries, key=lambda one: one not in known))

    def _lists(self, track: Track, entries: tuple[PodEntry, ...] | None) -> bool:
        """Whether the kubelet's word about pods of this name has it."""
        for entry in entries or ():
            assigned = entry.containers.get(track.container)
            if assigned is None:
                continue
            if not track.device or any(one.id == track.device for one in self._held(assigned)):
                return True
        return False

    # Ends

    def _end(self, pods: Mapping[str, Pod], gone: Mapping[str, Gone], now: Instant) -> None:
        for track in self.tracks:
            if track.ended is not None:
                continue
            if track.boot_id != self.boot_id:
                self._close(track, now.boot, now, estimated=True)
                continue
            left = gone.get(track.uid)
            pod = pods.get(track.uid) or (left.pod if left else None)
            life = pod.lives.get(track.container) if pod else None
            if life is not None and life.over and life.ended is not None:
                self._close(track, life.ended - now.offset, now)
            elif track.uid not in pods or (life is not None and life.over):
                self._close_unsaid(track, left, pods, now)

    def _close_unsaid(
        self, track: Track, left: Gone | None, pods: Mapping[str, Pod], now: Instant
    ) -> None:
        """Close what nobody says the end of, once the kubelet has it no more."""
        name = track.namespace, track.name
        again = any((one.namespace, one.name) == name for one in pods.values())
        last, entries = self._entries.get(name, (-1, ()))
        if not again and last == self._heard and self._lists(track, entries):
            # It was taken away by force, and its container goes on for a while.
            return
        if left is not None and left.told:
            self._close(track, max(left.at, track.seen), now)
        elif track.seen >= 0:
            self._close(track, track.seen, now)
        else:
            self._close(track, now.boot, now, estimated=True)

    def _close(self, track: Track, boot: int, now: Instant, *, estimated: bool = False) -> None:
        self.seq += 1
        if track.boot_id == self.boot_id:
            boot = min(max(boot, track.started.boot), now.boot)
        devices = (track.device,)
        track.ended = Ended(
            self.seq,
            track.started.session,
            boot + now.offset,
            boot,
            self.boot_id,
            estimated,
            devices,
        )

    # Starts

    def _begin(self, pod: Pod, now: Instant, *, gone: bool = False) -> None:
        if not pod.lives:
            return
        marked = self._marks(pod)
        known = {one.place for one in self.tracks if one.uid == pod.uid and self._here(one)}
        for container, life, one in self._holdings(pod, marked, now, gone=gone):
            terms = _outside(pod, one) if marked is None else marked.terms
            if marked is not None and known:
                # Cores and memory are the session's, not each device's.
                terms = terms.model_copy(update={"millicores": 0, "memory": 0})
            allocation = _allocated(terms, one)
            if (allocation.session, allocation.device) in known:
                continue
            began = max(life.began, self.born)
            if life.over and (life.ended is None or life.ended <= began):
                continue
            known.add((allocation.session, allocation.device))
            self._open(pod, container, marked, allocation, began, now)

    def _here(self, track: Track) -> bool:
        return track.boot_id == self.boot_id

    def _open(
        self,
        pod: Pod,
        container: str,
        marked: Marked | None,
        allocation: Allocation,
        began: int,
        now: Instant,
    ) -> None:
        self.seq += 1
        username = marked.username if marked else f"namespace {pod.namespace}"
        boot = max(began - now.offset, 0)
        started = Started(
            self.seq, allocation.session, (allocation,), username, began, boot, self.boot_id
        )
        track = Track(pod.uid, pod.namespace, pod.name, container, self.boot_id, started, seen=boot)
        at, entries = self._entries.get((pod.namespace, pod.name), (-1, ()))
        if self._lists(track, entries):
            track.seen = max(at, boot)
        self.tracks.append(track)

    def _holdings(
        self, pod: Pod, marked: Marked | None, now: Instant, *, gone: bool
    ) -> Iterator[tuple[str, Life, Device | None]]:
        """What there is to count of a pod: containers that have begun, each with a device."""
        if marked is not None and marked.terms.flavor_type == "cpu":
            yield from _main(pod)
            return
        at, entries = self._entries.get((pod.namespace, pod.name), (-1, ()))
        entry = self._entry(pod, entries, gone=gone)
        told = {
            one.container
            for one in self.tracks
            if one.uid == pod.uid and one.device and self._here(one)
        }
        found = False
        for container, life in pod.lives.items():
            # A container has all its devices from its start: what is said later in its pod's name
            # is of the next pod. What was said before it began may be of the one before.
            if container in told or at < life.began - now.offset or entry is None:
                continue
            for device in self._held(entry.containers.get(container, ())):
                found = True
                yield container, life, device
        if marked is None or found or any(one.uid == pod.uid for one in self.tracks):
            return
        # A session that the kubelet says nothing of: it holds a device, nobody knows which.
        for container, life, _none in _main(pod):
            if life.over or at >= life.began - now.offset:
                yield container, life, None

    def _entry(self, pod: Pod, entries: tuple[PodEntry, ...], *, gone: bool) -> PodEntry | None:
        """Which of the kubelet's entries for pods of a name is this pod's."""
        if len(entries) < 2:
            return entries[0] if entries else None
        taken = self._of_namesakes(pod)
        mine = [one for one in entries if not taken & self._devices(one)]
        if not mine:
            return None
        return mine[0] if gone else mine[-1]

    def _devices(self, entry: PodEntry) -> frozenset[str]:
        assigned = [one for devices in entry.containers.values() for one in devices]
        return frozenset(one.id for one in self._held(assigned))

    def _held(self, assigned: Iterable[Assigned]) -> tuple[Device, ...]:
        return accelerators(assigned, self.terms.resources, self._replicas, self.terms.node)

    def _of_namesakes(self, pod: Pod) -> frozenset[str]:
        """Devices of earlier pods of the same name that the kubelet still has in its list."""
        name = pod.namespace, pod.name
        return frozenset(
            one.device
            for one in self.tracks
            if (one.namespace, one.name) == name and one.uid != pod.uid
        )

    def _marks(self, pod: Pod) -> Marked | None:
        if pod.namespace not in self.terms.namespaces:
            return None
        if self.terms.instance and pod.labels.get(INSTANCE) != self.terms.instance:
            return None
        try:
            return read_marks(pod)
        except BadMarks as error:
            if pod.uid not in self._bad:
                self._bad.add(pod.uid)
                log.error("a session's pod says what cannot be", uid=pod.uid, why=str(error))
            return None


def _main(pod: Pod) -> Iterator[tuple[str, Life, None]]:
    """The container that the session is."""
    life = pod.lives.get(NOTEBOOK_CONTAINER)
    if life is not None:
        yield NOTEBOOK_CONTAINER, life, None


def _allocated(terms: Allocation, device: Device | None) -> Allocation:
    if device is None:
        return terms
    share = device.replica_share or terms.share
    return terms.model_copy(update={"device": device.id, "share": share, "shared": device.shared})


def _outside(pod: Pod, device: Device | None) -> Allocation:
    """What a pod that is no session's holds: it too is not free for others."""
    resource = device.resource if device else ""
    return Allocation(
        session=pod.uid[:64],
        account=f"outside:{pod.namespace}"[:64],
        group=OUTSIDE,
        flavor=resource,
        flavor_type=type_of(resource),
        share=slice_share(resource),
        catalog="",
    )
