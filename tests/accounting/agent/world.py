"""A node in memory: a clock moved by hand, devices that do as they are told, a real spool."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from arcetri_accounting.agent.allocations import Damaged, Ended, Event, Started
from arcetri_accounting.agent.clock import Instant
from arcetri_accounting.agent.figures import Figures
from arcetri_accounting.agent.keeper import Keeper
from arcetri_accounting.agent.ledger import Envelope, Tail, encode
from arcetri_accounting.agent.loop import Agent
from arcetri_accounting.agent.readings import FULL, Device, Reading
from arcetri_accounting.agent.sampler import Look
from arcetri_accounting.contract.usage import (
    Allocation,
    Batch,
    Gap,
    Presence,
    Segment,
    Usage,
    record_adapter,
)
from arcetri_accounting.spool import Outbox

INTERVAL = 10_000


class HandClock:
    """Time passes only when told to."""

    def __init__(self) -> None:
        self.boot_id = "boot1"
        self.wall, self.boot, self.awake = 1_790_000_000_000, 50_000, 50_000

    def now(self) -> Instant:
        return Instant(self.wall, self.boot, self.awake)

    def boottime(self) -> int:
        return self.boot

    def tick(self, milliseconds: int, *, asleep: bool = False) -> None:
        self.wall += milliseconds
        self.boot += milliseconds
        self.awake += 0 if asleep else milliseconds

    def reboot(self) -> None:
        self.boot_id += "x"
        self.wall += 60_000
        self.boot = self.awake = 20_000


@dataclass
class Gpu:
    """A device; ``busy`` is its utilisation in hundredths of a percent, always the same."""

    device: Device
    busy: int | None = FULL
    occupied: bool = True
    down: bool = False
    hangs: bool = False
    remade: bool = False
    looked: int | None = None


@dataclass
class HandSampler:
    """Looks at those devices."""

    gpus: dict[str, Gpu] = field(default_factory=dict)
    driver: bool = True

    def add(self, uuid: str, **options: object) -> Gpu:
        made = Gpu(Device(uuid, "NVIDIA T4"), **options)  # type: ignore[arg-type]
        self.gpus[uuid] = made
        return made

    def look(self, now: Instant, wanted: frozenset[str]) -> Look:  # noqa: ARG002
        if not self.driver:
            return Look(present=frozenset())
        readings, silent = [], 0
        for gpu in self.gpus.values():
            if gpu.hangs:
                silent += 1
                continue
            remade, gpu.remade = gpu.remade, False
            before, gpu.looked = gpu.looked, now.boot
            if gpu.down:
                readings.append(Reading(gpu.device, now.boot, down=True, remade=remade))
                continue
            since = now.boot if before is None else max(before, now.boot - INTERVAL * 3 // 2)
            busy = []
            if gpu.busy is not None:
                # As a driver's buffer does, it reaches back twenty seconds.
                busy = [(max(before or 0, now.boot - 20_000), now.boot, gpu.busy)]
            readings.append(
                Reading(gpu.device, now.boot, busy, since, gpu.occupied, 1000, remade=remade)
            )
        return Look(readings, frozenset(self.gpus), silent, available=True)

    def close(self) -> None:
        pass


class ListSource:
    """Allocations from a list, that survives the agent."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.acknowledged = 0

    def poll(self, after: int) -> list[Event]:
        return [event for event in self.events if event.seq > after]

    def acknowledge(self, seq: int) -> None:
        self.acknowledged = seq

    def known_before(self) -> int:
        return self.acknowledged

    def alive(self) -> dict[tuple[str, str], int]:
        return {}


class World:
    """A node whose agent can die and be started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "spool.db"
        self.clock = HandClock()
        self.sampler = HandSampler()
        self.source = ListSource()
        self.figures = Figures()
        self.records: dict[tuple[str, int], Segment | Presence | Gap] = {}
        self.boots: dict[tuple[str, int], str] = {}
        self.allocations: dict[str, Allocation] = {}
        self.truth: dict[str, list[int | None]] = {}
        self.max_pages: int | None = None
        self.tail = Tail("")
        self.start_agent()

    def start_agent(self) -> None:
        def spool(born: object) -> Outbox:
            return Outbox(self.path, born, max_pages=self.max_pages)  # type: ignore[arg-type]

        self.keeper = Keeper(spool, self.clock, self.figures)
        self.agent = Agent(
            self.keeper, self.source, self.sampler, self.clock, self.figures, INTERVAL
        )

    def kill_agent(self) -> None:
        """What was not written is gone."""
        self.keeper.outbox.close()
        for gpu in self.sampler.gpus.values():
            gpu.looked = None

    def restart(self) -> None:
        self.kill_agent()
        self.start_agent()

    def cycle(self, count: int = 1, every: int = INTERVAL) -> None:
        for _ in range(count):
            self.clock.tick(every)
            self.agent.cycle()
            self.tail = self.agent.tail()
            self.collect()

    def collect(self, *, acknowledge: bool = True) -> None:
        """Take what is in the spool as a ledger would, held to the contract."""
        outbox = self.keeper.outbox
        while items := outbox.batch(500, 10**7):
            keys = {item.attachment for item in items if item.attachment}
            envelope = Envelope("n", outbox.epoch.id, 1, 1, 1, 0, items[0].seq)
            body = encode(envelope, items, outbox.attachments(keys), self.tail)
            batch = Batch.model_validate_json(body)
            self.allocations |= batch.allocations
            for raw in batch.records:
                record = record_adapter.validate_python(raw)
                name = (batch.epoch, record.seq)
                assert self.records.setdefault(name, record) == record
                self.boots[name] = batch.boot
                if isinstance(record, Segment):
                    assert record.allocation in batch.allocations
            if not acknowledge:
                break
            outbox.acknowledge(items[-1].seq)

    def begin(self, *devices: str, share: str = "1", session: str = "", kind: str = "gpu") -> str:
        session = session or f"session-{len(self.truth)}"
        now = self.clock.now()
        self.truth[session] = [now.boot, None]
        allocations = tuple(
            Allocation(
                session=session, device=device, account="a1", group="/g", flavor="f",
                flavor_type="gpu" if kind == "gpu" else "cpu", share=Fraction(share),
                catalog="c",
            )
            for device in devices or ("",)
        )  # fmt: skip
        self.source.events.append(
            Started(
                len(self.source.events) + 1, session, allocations, "alice",
                now.wall, now.boot, self.clock.boot_id,
            )
        )  # fmt: skip
        return session

    def finish(self, session: str, *, ago: int = 0, estimated: bool = False) -> None:
        now = self.clock.now()
        self.truth[session][1] = now.boot - ago
        self.source.events.append(
            Ended(
                len(self.source.events) + 1, session, now.wall - ago, now.boot - ago,
                self.clock.boot_id, estimated,
            )
        )  # fmt: skip

    def damage(self) -> None:
        self.source.events.append(Damaged(len(self.source.events) + 1, "a line"))

    def duration(self, session: str) -> int:
        began, ended = self.truth[session]
        assert began is not None
        assert ended is not None
        return ended - began

    def segments(self, session: str) -> list[Segment]:
        found = [
            record
            for record in self.records.values()
            if isinstance(record, Segment)
            and self.allocations[record.allocation].session == session
        ]
        return sorted(found, key=lambda record: record.b0)

    def running(self, session: str) -> list[Usage]:
        names = {
            key: json.loads(text)["session"] for key, text in self.tail.holders.allocations.items()
        }
        usages = [Usage.model_validate(usage) for usage in self.tail.usages]
        return [usage for usage in usages if names[usage.allocation] == session]

    def generations(self, session: str) -> set[int]:
        """Of the devices that a running session holds."""
        return {
            json.loads(self.tail.holders.allocations[usage.allocation])["generation"]
            for usage in self.running(session)
        }

    def pages(self) -> int:
        """How many pages the closed spool has."""
        return self.path.stat().st_size // 4096

    def gaps(self) -> list[str]:
        return [record.code for record in self.records.values() if isinstance(record, Gap)]

    def presences(self) -> list[Presence]:
        return [record for record in self.records.values() if isinstance(record, Presence)]

    def close(self) -> None:
        self.keeper.outbox.close()


def total(usages: list[Segment] | list[Usage], what: str = "dur_ms") -> int:
    return sum(getattr(usage, what) or 0 for usage in usages)
