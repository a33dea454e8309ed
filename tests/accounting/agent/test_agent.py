"""The agent through everything that happens to a node."""

from __future__ import annotations

import gc
import json
import os
import sqlite3
import warnings
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path

import pytest

from arcetri_accounting.agent.books import LAG_MS
from arcetri_accounting.agent.readings import Device
from arcetri_accounting.contract.units import QUARTER_MS
from arcetri_accounting.contract.usage import Gap
from arcetri_accounting.spool.newest import PLACE
from tests.accounting.agent.world import INTERVAL, World, total

HOUR = 3_600_000


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def whole(world: World, session: str) -> None:
    """The session's segments are all of it, one after the other, none over another."""
    segments = world.segments(session)
    assert total(segments) == world.duration(session)
    for before, after in pairwise(segments):
        assert after.b0 == before.b0 + before.dur_ms


def test_a_session_is_allocated_used_and_occupied(world: World) -> None:
    world.sampler.add("GPU-0", busy=2500)
    world.cycle(2)
    session = world.begin("GPU-0", share="1/2")
    world.cycle(60)
    world.clock.tick(3_333)
    world.finish(session)
    world.cycle()

    whole(world, session)
    segments = world.segments(session)
    duration = world.duration(session)
    assert (total(segments, "occupied_ms"), total(segments, "unobserved_ms")) == (duration, 0)
    assert total(segments, "util_ms") == duration
    assert total(segments, "used_u") == 5040 * duration // 4
    assert {segment.mem_peak for segment in segments} == {1000}
    assert world.gaps() == []


def test_what_runs_is_shown_and_then_is_final(world: World) -> None:
    world.sampler.add("GPU-0")
    world.cycle()
    session = world.begin("GPU-0")
    world.cycle()
    (first,) = world.running(session)
    world.cycle()
    (second,) = world.running(session)
    assert (first.dur_ms, second.dur_ms) == (INTERVAL - 2000, 2 * INTERVAL - 2000)
    world.finish(session)
    world.cycle()

    assert world.running(session) == []
    whole(world, session)


def test_segments_lie_within_quarter_hours(world: World) -> None:
    session = world.begin("SIM-1")
    world.cycle(300)
    world.finish(session)
    world.cycle()

    whole(world, session)
    for segment in world.segments(session):
        assert segment.t0 // QUARTER_MS == (segment.t1 - 1) // QUARTER_MS


def test_what_nvml_does_not_know_is_allocated_and_unobserved(world: World) -> None:
    world.sampler.driver = False
    sessions = [world.begin("GPU-0"), world.begin("SIM-1"), world.begin(kind="cpu")]
    world.cycle(3)
    for session in sessions:
        world.finish(session)
    world.cycle()

    for session in sessions:
        whole(world, session)
        segments = world.segments(session)
        assert total(segments, "unobserved_ms") == world.duration(session)
        assert {segment.used_u for segment in segments} == {None}
    assert world.presences() == []


@pytest.mark.parametrize("step", [HOUR, -HOUR, 1500, -1500])
def test_a_clock_that_is_set_changes_no_duration(world: World, step: int) -> None:
    world.sampler.add("GPU-0")
    session = world.begin("GPU-0")
    world.cycle(5)
    world.clock.wall += step
    world.cycle(5)
    world.finish(session)
    world.cycle()

    whole(world, session)
    assert world.gaps() == ["clock"]
    before, after = world.segments(session)[0], world.segments(session)[-1]
    assert after.t0 - after.b0 == before.t0 - before.b0 + step


def test_a_clock_that_drifts_is_followed_without_a_gap(world: World) -> None:
    session = world.begin("SIM-1")
    for _ in range(100):
        world.clock.wall += 30
        world.cycle()
    world.finish(session)
    world.cycle()

    whole(world, session)
    assert world.gaps() == []
    last = world.segments(session)[-1]
    assert abs(last.t0 - last.b0 - world.clock.now().offset) < 1100


def test_a_machine_that_sleeps_is_allocated_and_not_observed(world: World) -> None:
    world.sampler.add("GPU-0", busy=None)
    world.cycle()
    session = world.begin("GPU-0")
    world.cycle(3)
    world.clock.tick(8 * HOUR, asleep=True)
    world.sampler.gpus["GPU-0"].looked = None
    world.cycle(3)
    world.finish(session)
    world.cycle()

    whole(world, session)
    assert world.gaps() == ["suspended"]
    # Two intervals beside the sleep: nothing is known of the one in which it fell asleep, nor of
    # the one in which it woke up.
    assert 8 * HOUR <= total(world.segments(session), "unobserved_ms") <= 8 * HOUR + 2 * INTERVAL


def test_after_a_boot_what_ran_is_closed_where_it_was_last_seen(world: World) -> None:
    world.sampler.add("GPU-0")
    world.cycle()
    session = world.begin("GPU-0")
    world.cycle(4)
    seen = total(world.running(session)) + total(world.segments(session))
    world.kill_agent()
    world.clock.reboot()
    world.start_agent()
    world.finish(session)
    world.cycle(3)

    assert total(world.segments(session)) == seen
    assert world.running(session) == []
    boots = {
        world.boots[name]
        for name, record in world.records.items()
        if record in world.segments(session)
    }
    assert boots == {"boot1"}
    # The device is another one now.
    again = world.begin("GPU-0")
    world.cycle(2)
    assert world.generations(again) == {2}


def test_a_session_of_another_boot_that_the_journal_knows_whole_is_counted(world: World) -> None:
    world.cycle()
    world.kill_agent()
    world.clock.reboot()
    session = world.begin("GPU-0")
    world.clock.tick(12_345)
    world.finish(session)
    world.clock.reboot()
    world.start_agent()
    world.cycle()

    whole(world, session)
    (segment,) = world.segments(session)
    assert segment.unobserved_ms == 12_345


def test_a_spool_that_is_gone_is_a_gap_and_nothing_is_counted_twice(world: World) -> None:
    world.cycle()
    before = world.begin("SIM-1")
    ended = world.begin("SIM-2")
    world.cycle(4)
    world.finish(ended)
    world.cycle()
    counted = total(world.segments(before))
    whole(world, ended)
    world.kill_agent()
    world.path.rename(world.path.with_name("elsewhere"))
    world.clock.tick(60_000)
    birth = world.clock.now().boot
    world.start_agent()
    after = world.begin("SIM-3")
    world.cycle(3)
    for session in (before, after):
        world.finish(session)
    world.cycle()

    assert world.gaps() == ["spool_lost"]
    whole(world, ended)
    whole(world, after)
    later = world.truth[before][1]
    assert later is not None
    assert total(world.segments(before)) == counted + later - birth


def test_a_first_spool_is_no_gap(world: World) -> None:
    world.begin("SIM-1")
    world.cycle()

    assert world.gaps() == []


def test_a_spool_that_is_damaged_while_it_runs_costs_nothing_that_was_acknowledged(
    world: World,
) -> None:
    world.cycle()
    session = world.begin("SIM-1")
    world.cycle(40)
    epoch = world.keeper.outbox.epoch.id
    world.path.rename(world.path.with_name("taken away"))
    world.cycle(40)
    world.restart()
    world.cycle(5)
    world.finish(session)
    world.cycle()

    whole(world, session)
    assert world.gaps() == ["spool_corrupt"]
    assert world.keeper.outbox.epoch.id != epoch
    assert world.figures.spool_errors == 1


def test_a_damaged_spool_at_the_start_is_set_aside(world: World) -> None:
    session = world.begin("SIM-1")
    world.cycle(3)
    world.kill_agent()
    world.path.write_bytes(os.urandom(20_000))
    birth = world.clock.now().boot
    world.start_agent()
    world.cycle(3)
    world.finish(session)
    world.cycle()

    assert world.gaps() == ["spool_corrupt"]
    later = world.truth[session][1]
    assert later is not None
    assert total(world.segments(session)) == later - birth


def test_a_full_disk_loses_nothing_and_is_said(world: World) -> None:
    world.sampler.add("GPU-0")
    world.cycle()
    session = world.begin("GPU-0")
    world.cycle(2)
    # Without acknowledgements the file grows to its limit.
    world.kill_agent()
    world.max_pages = world.pages()
    world.start_agent()
    for _ in range(2000):
        world.clock.tick(INTERVAL)
        world.agent.cycle()
        world.tail = world.agent.tail()
        if world.figures.unwritten > 5:
            break
    assert world.figures.spool_errors > 0
    assert world.figures.unwritten > 5
    world.collect()
    world.cycle(2)
    assert world.figures.unwritten == 0
    world.finish(session)
    world.cycle()

    whole(world, session)
    assert world.gaps() == ["disk_full"]
    assert world.source.acknowledged == len(world.source.events)


def test_a_full_disk_and_a_death_lose_no_allocation(world: World) -> None:
    world.sampler.add("GPU-0")
    world.cycle()
    session = world.begin("GPU-0")
    world.kill_agent()
    world.max_pages = world.pages()
    world.start_agent()
    for _ in range(2000):
        world.clock.tick(INTERVAL)
        world.agent.cycle()
        world.tail = world.agent.tail()
        if world.figures.unwritten > 5:
            break
    other = world.begin("GPU-0")
    world.cycle(1)
    world.max_pages = None
    world.restart()
    world.collect()
    world.cycle(2)
    for one in (session, other):
        world.finish(one)
    world.cycle()

    whole(world, session)
    whole(world, other)


def test_a_lost_device_is_down_and_what_holds_it_is_unobserved(world: World) -> None:
    gpu = world.sampler.add("GPU-0")
    world.cycle()
    session = world.begin("GPU-0")
    world.cycle(4)
    gpu.down = True
    world.cycle(6)
    gpu.down = False
    world.cycle(4)
    world.finish(session)
    world.cycle()
    world.agent.finish()
    world.collect()

    whole(world, session)
    unobserved = total(world.segments(session), "unobserved_ms")
    assert 5 * INTERVAL <= unobserved <= 7 * INTERVAL
    states = [(one.generation, one.state) for one in world.presences()]
    assert [state for state, _ in groupby(states)] == [(1, "up"), (1, "down"), (2, "up")]
    generations = [world.allocations[one.allocation].generation for one in world.segments(session)]
    assert set(generations) == {1, 2}
    assert generations == sorted(generations)


def test_an_instance_made_again_under_a_session_is_another_device(world: World) -> None:
    gpu = world.sampler.add("MIG-0")
    gpu.device = Device("MIG-0", "A100 MIG 1g.5gb", "GPU-0", "1g.5gb", 1440)
    world.cycle()
    session = world.begin("MIG-0", share="1/7")
    world.cycle(3)
    gpu.remade = True
    world.cycle(3)
    world.finish(session)
    world.cycle()

    whole(world, session)
    allocations = [world.allocations[one.allocation] for one in world.segments(session)]
    assert [one.generation for one in allocations] == [1, 2]
    assert {one.session for one in allocations} == {session}


def test_a_device_that_answers_late_loses_nothing(world: World) -> None:
    gpu = world.sampler.add("GPU-0")
    other = world.sampler.add("GPU-1")
    world.cycle()
    session, beside = world.begin("GPU-0"), world.begin("GPU-1")
    world.cycle(3)
    gpu.hangs = True
    world.cycle()
    (late,), (prompt,) = world.running(session), world.running(beside)
    assert (late.dur_ms, prompt.dur_ms) == (3 * INTERVAL, 4 * INTERVAL - 2000)
    gpu.hangs = False
    world.cycle(2)
    for one in (session, beside):
        world.finish(one)
    world.cycle()

    assert not other.hangs
    for one in (session, beside):
        whole(world, one)
    assert total(world.segments(beside), "unobserved_ms") == 0
    assert total(world.segments(session), "util_ms") == world.duration(session)
    # Use is in the driver's buffer; whether a process was there is only seen when looking.
    assert total(world.segments(session), "unobserved_ms") == 0


def test_a_device_that_never_answers_again_still_is_allocated(world: World) -> None:
    gpu = world.sampler.add("GPU-0")
    world.cycle()
    session = world.begin("GPU-0")
    world.cycle(3)
    gpu.hangs = True
    world.cycle(20)
    (tail,) = world.running(session)
    assert world.figures.devices_silent == 1
    assert total(world.segments(session)) + tail.dur_ms >= 23 * INTERVAL - 25_000
    world.finish(session)
    world.cycle(4)

    whole(world, session)
    assert total(world.segments(session), "unobserved_ms") == 20 * INTERVAL


def test_an_end_that_is_read_late_takes_back_what_was_too_much(world: World) -> None:
    world.sampler.add("GPU-0")
    world.cycle()
    session = world.begin("GPU-0")
    world.cycle(3)
    world.finish(session, ago=7_000)
    world.cycle()

    whole(world, session)


def test_a_journal_that_is_damaged_is_a_gap_once(world: World) -> None:
    world.damage()
    world.cycle(2)
    world.restart()
    world.cycle(2)

    assert world.gaps() == ["journal_damaged"]


def test_a_restart_within_the_drivers_buffer_costs_only_presence(world: World) -> None:
    world.sampler.add("GPU-0")
    world.cycle()
    session = world.begin("GPU-0")
    world.cycle(3)
    world.restart()
    world.cycle(3)
    world.finish(session)
    world.cycle()

    whole(world, session)
    assert total(world.segments(session), "util_ms") == world.duration(session)


def test_a_spool_of_an_earlier_release_is_gone_on_with(world: World) -> None:
    """It kept the state in the database alone, filled up with blanks."""
    world.sampler.add("GPU-0")
    session = world.begin("GPU-0")
    world.cycle()
    state = world.keeper.outbox.kept()
    assert state is not None
    world.kill_agent()
    with sqlite3.connect(world.path) as database:
        database.execute("DELETE FROM meta WHERE name = 'state-mark'")
        database.execute("UPDATE meta SET value = ? WHERE name = 'state'", (state.ljust(1024),))
    database.close()
    assert not world.path.with_name("spool.db-state").exists()
    world.start_agent()
    world.cycle(5)
    world.finish(session)
    world.cycle(2)

    whole(world, session)
    assert world.gaps() == []
    assert total(world.segments(session), "util_ms") == world.duration(session)


def test_a_state_that_was_cut_off_costs_one_sample(world: World) -> None:
    gpu = world.sampler.add("GPU-0", busy=None)
    session = world.begin("GPU-0")
    world.cycle(10)
    world.kill_agent()
    file = world.path.with_name("spool.db-state")
    data = bytearray(file.read_bytes())
    newest = max(0, PLACE, key=lambda at: int.from_bytes(data[at + 8 : at + 16], "little"))
    data[newest + 100] ^= 0xFF
    file.write_bytes(data)
    world.start_agent()
    gpu.looked = world.clock.boot
    world.cycle(10)
    world.finish(session)
    world.cycle(2)

    whole(world, session)
    # What is kept is behind by the time that an end may be read later.
    assert total(world.segments(session), "unobserved_ms") == INTERVAL + LAG_MS


def test_the_end_of_the_agent_leaves_everything_cut(world: World) -> None:
    world.sampler.add("GPU-0")
    world.cycle()
    session = world.begin("GPU-0")
    world.cycle(3)
    world.clock.tick(4_000)
    world.agent.finish()
    tail = world.agent.tail()
    world.collect()
    assert [usage["dur_ms"] for usage in tail.usages] == [0]
    assert total(world.segments(session)) == 3 * INTERVAL + 2_000
    world.restart()
    world.cycle(2)
    world.finish(session)
    world.cycle()

    whole(world, session)


def test_the_gap_of_a_lost_backlog_begins_where_the_backlog_did(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as away:
        away.setattr(world, "collect", lambda **_: None)
        world.begin("SIM-1")
        world.cycle(200)
        (oldest,) = world.keeper.outbox.batch(1, 1)
        world.path.unlink()
        world.cycle()
    world.cycle()

    (gap,) = [record for record in world.records.values() if isinstance(record, Gap)]
    assert gap.t0 == json.loads(oldest.body)["t0"]
    assert gap.t1 - gap.t0 > 1_000_000


def test_a_cycle_leaves_nothing_to_the_garbage_collector(world: World) -> None:
    for number in range(8):
        world.sampler.add(f"GPU-{number}")
        world.begin(f"GPU-{number}")
    world.cycle(3)
    with warnings.catch_warnings():
        # What other tests of this process left is no matter of the agent's.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    gc.disable()
    try:
        world.cycle(200)
        left = gc.collect()
    finally:
        gc.enable()
    # The agent has it collect each quarter hour: what refers to itself would pile up meanwhile.
    assert left < 200
