"""Which devices are there, in which of their lives."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from arcetri_accounting.agent.presence import Presences
from arcetri_accounting.agent.readings import Device, Reading
from arcetri_accounting.contract.units import QUARTER_MS
from arcetri_accounting.contract.usage import Presence

GPU = Device("GPU-0", "NVIDIA A100")
MIG = Device("MIG-0", "NVIDIA A100 MIG 1g.5gb", "GPU-0", "1g.5gb", 1440)
OFFSET = 1_000 * QUARTER_MS
PATIENCE = 25_000


class Seen:
    """Presences, and the records that they give, each held to the contract."""

    def __init__(self) -> None:
        self.presences = Presences(PATIENCE)
        self.records: list[Presence] = []

    def take(self, records: Any) -> None:
        for record in records:
            adapter = TypeAdapter(Presence)
            self.records.append(adapter.validate_python({"seq": 1, **record}))

    def see(self, device: Device, at: int, **flags: bool) -> None:
        self.take(self.presences.see(Reading(device, at, **flags), OFFSET))

    def spans(self) -> list[tuple[str, int, str, int, int]]:
        return [(r.device, r.generation, r.state, r.b0, r.dur_ms) for r in self.records]


def test_a_device_is_there_between_looks_and_cut_at_quarter_hours() -> None:
    seen = Seen()
    for at in range(0, QUARTER_MS + 20_000, 10_000):
        seen.see(GPU, at)
    seen.take(seen.presences.cut_all())

    assert seen.spans() == [
        ("GPU-0", 1, "up", 0, QUARTER_MS),
        ("GPU-0", 1, "up", QUARTER_MS, 10_000),
    ]
    assert {record.weight for record in seen.records} == {10_080}


def test_an_instance_that_is_destroyed_and_made_again_is_another_one() -> None:
    seen = Seen()
    seen.see(MIG, 0)
    seen.see(MIG, 10_000)
    seen.take(seen.presences.gone({"GPU-0"}))
    seen.see(MIG, 30_000)
    seen.see(MIG, 40_000)
    seen.take(seen.presences.cut_all())

    assert seen.spans() == [("MIG-0", 1, "up", 0, 10_000), ("MIG-0", 2, "up", 30_000, 10_000)]
    assert {(record.parent, record.weight) for record in seen.records} == {("GPU-0", 1440)}


def test_one_that_was_made_again_between_two_looks_is_another_one() -> None:
    seen = Seen()
    seen.see(MIG, 0)
    seen.see(MIG, 10_000, remade=True)

    assert seen.presences.generation("MIG-0") == 2
    assert seen.spans() == []


def test_a_lost_device_is_down_and_comes_back_as_another_one() -> None:
    seen = Seen()
    seen.see(GPU, 0)
    seen.see(GPU, 10_000)
    seen.see(GPU, 20_000, down=True)
    seen.see(GPU, 30_000, down=True)
    seen.see(GPU, 40_000)
    seen.see(GPU, 50_000)
    seen.take(seen.presences.cut_all())

    assert seen.spans() == [
        ("GPU-0", 1, "up", 0, 10_000),
        ("GPU-0", 1, "down", 20_000, 10_000),
        ("GPU-0", 2, "up", 40_000, 10_000),
    ]


def test_silence_is_not_presence() -> None:
    seen = Seen()
    seen.see(GPU, 0)
    seen.see(GPU, 10_000)
    seen.see(GPU, 10_000 + PATIENCE + 1)
    seen.see(GPU, 50_000)
    seen.take(seen.presences.cut_all())

    assert seen.spans() == [("GPU-0", 1, "up", 0, 10_000), ("GPU-0", 1, "up", 35_001, 14_999)]


def test_after_a_boot_every_device_is_another_one() -> None:
    seen = Seen()
    seen.see(GPU, 0)
    seen.see(GPU, 10_000)
    seen.take(seen.presences.reboot())
    assert seen.presences.generation("GPU-0") == 2
    # Two boots without a look between them are one life less, not one more.
    seen.take(seen.presences.reboot())
    seen.see(GPU, 500)

    assert seen.presences.generation("GPU-0") == 2
    assert seen.spans() == [("GPU-0", 1, "up", 0, 10_000)]


def test_a_gpu_that_goes_into_mig_mode_has_no_weight_of_its_own() -> None:
    seen = Seen()
    seen.see(GPU, 0)
    seen.see(GPU, 10_000)
    seen.see(Device("GPU-0", "NVIDIA A100", weight=0), 20_000)
    seen.see(Device("GPU-0", "NVIDIA A100", weight=0), 30_000)
    seen.take(seen.presences.cut_all())

    assert [(r.weight, r.b0, r.dur_ms) for r in seen.records] == [
        (10_080, 0, 10_000),
        (0, 20_000, 10_000),
    ]
