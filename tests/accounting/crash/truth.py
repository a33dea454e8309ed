"""Sessions that a test starts and ends, and what must therefore be in the ledger."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from uuid import UUID

from arcetri_accounting.contract.journal import LeasedDevice, LeaseEnded, LeaseStarted
from arcetri_spawner.backends.local.journal import Journal
from arcetri_spawner.usage import Told

WHOLE = 10_080
BUSY = 37
"""Percent, of every device that can tell."""
MACHINE = f"""
    gpu GPU-0 nomig Tesla T4
    util steady {BUSY}
    process 4001 1000000000
    energy 5000 60000
    gpu GPU-1 nomig Tesla T4
    util steady {BUSY}
    gpu GPU-2 mig NVIDIA A100-PCIE-40GB
    mig MIG-0 1g.5gb
    process 4002 2000000000
    mig MIG-1 1g.5gb
"""
BOOT = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
_COMPACT_BYTES = 20_000


def boottime() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


@dataclass(frozen=True)
class Offer:
    """What sessions can be given."""

    flavor: str
    flavor_type: str
    share: str
    devices: tuple[str, ...]
    each: int = 1
    simulated: bool = False


OFFERS = (
    Offer("t4", "gpu", "1", ("GPU-0", "GPU-1")),
    Offer("t4-pair", "gpu", "1", ("GPU-0", "GPU-1"), each=2),
    Offer("a100-1g", "gpu", "1/7", ("MIG-0", "MIG-1")),
    Offer("sim", "gpu", "1/3", ("SIM-0", "SIM-1"), simulated=True),
    Offer("u250", "fpga", "1", ("FPGA-0",)),
    Offer("cpu", "cpu", "1", (), each=0),
)


@dataclass
class Session:
    """One session, as it really was."""

    id: str
    offer: Offer
    devices: tuple[str, ...]
    cores: float
    began: int
    """CLOCK_BOOTTIME in milliseconds, as ``ended``."""
    due: float
    ended: int = 0

    @property
    def duration(self) -> int:
        return self.ended - self.began

    def allocated(self) -> dict[tuple[str, str], tuple[int, int, int]]:
        """By session and device: milliseconds, 1/10080 device-milliseconds, core-milliseconds."""
        units = 0 if self.offer.flavor_type == "cpu" else int(Fraction(self.offer.share) * WHOLE)
        return {
            (self.id, device): (
                self.duration,
                units * self.duration,
                0 if number else round(self.cores * 1000) * self.duration,
            )
            for number, device in enumerate(self.devices or ("",))
        }


@dataclass
class Hub:
    """Starts and ends sessions in a journal, as the local backend does."""

    folder: Path
    chance: random.Random
    told: Told
    lives: tuple[tuple[float, float], ...]
    """Between how many and how many seconds sessions live; each choice is as likely."""
    sessions: list[Session] = field(default_factory=list)
    open: list[Session] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.journal = Journal(
            self.folder / "leases.jsonl", compact_bytes=_COMPACT_BYTES, told=self.told
        )

    def turn(self, eagerness: float) -> None:
        """Perhaps start one, and end those whose time has come."""
        now = time.monotonic()
        for session in [one for one in self.open if one.due <= now]:
            self.end(session)
        if self.chance.random() < eagerness and len(self.open) < 12:
            self.start(self.chance.choice(OFFERS))

    def start(self, offer: Offer) -> Session | None:
        """Start one, where there are devices for it."""
        held = {device for one in self.open for device in one.devices}
        free = [device for device in offer.devices if device not in held]
        if len(free) < offer.each:
            return None
        devices = tuple(self.chance.sample(free, offer.each))
        cores = self.chance.choice((0.5, 1.0, 4.0))
        life = self.chance.uniform(*self.chance.choice(self.lives))
        name = str(UUID(int=self.chance.getrandbits(128), version=4))
        person = self.chance.choice(("alice", "bob", "carla"))
        session = Session(name, offer, devices, cores, boottime(), time.monotonic() + life)
        self.journal.append_start(
            LeaseStarted.model_validate(
                {
                    "seq": 1,
                    "session": name,
                    "account": f"account-{person}",
                    "username": person,
                    "group": self.chance.choice(("/g/cms", "/g/lhcb/trigger")),
                    "flavor": offer.flavor,
                    "flavor_type": offer.flavor_type,
                    "share": offer.share,
                    "catalog": "c" * 64,
                    "cpu": cores,
                    "memory": 2**33,
                    "devices": [
                        LeasedDevice(uuid=uuid, model="NVIDIA", simulated=offer.simulated)
                        for uuid in devices
                    ],
                    "pid": 0,
                    "pid_start_ticks": 0,
                    "boot_id": BOOT,
                    "at": datetime.now(UTC),
                    "boottime_ms": session.began,
                }
            )
        )
        self.sessions.append(session)
        self.open.append(session)
        return session

    def end(self, session: Session) -> None:
        session.ended = boottime()
        self.journal.append_end(
            LeaseEnded(
                seq=1,
                session=session.id,
                reason="stopped",
                boot_id=BOOT,
                at=datetime.now(UTC),
                boottime_ms=session.ended,
            )
        )
        self.open.remove(session)

    def end_all(self) -> None:
        for session in list(self.open):
            self.end(session)


@dataclass
class Past:
    """What is told of long ago: sessions of a node that is no more, imports, corrections."""

    at: int
    """Milliseconds since 1970, at the beginning of a quarter hour."""
    sessions: dict[str, int] = field(default_factory=dict)
    """Milliseconds that each is to have."""
    imported: int = 0
    """Milliseconds of whole devices."""
    counts: Counter[str] = field(default_factory=Counter)
