"""The arithmetic of endings, with clocks that are stepped and sessions that lie."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcetri_hub.reaper.decide import (
    Activity,
    End,
    EndReason,
    Keep,
    Limits,
    Memory,
    Moment,
    Verdict,
    Warn,
    decide,
    meet,
    next_change,
    note_answer,
    note_hub,
    worth_asking,
)

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINUTE = 60.0
LIMITS = Limits(idle=timedelta(hours=1), lifetime=timedelta(days=3), grace=timedelta(minutes=5))


@dataclass
class World:
    """A session, two clocks, and what is remembered."""

    limits: Limits = LIMITS
    now: Moment = field(default_factory=lambda: Moment(NOON, 1000.0))
    memory: Memory | None = None
    last: datetime = NOON
    busy: bool = False
    seq: int = 0
    wanted: EndReason | None = None

    def start(self, started: datetime | None = None) -> World:
        self.memory = meet(self.now, started or self.now.wall)
        return self

    def passes(self, minutes: float) -> World:
        self.now = Moment(
            self.now.wall + timedelta(minutes=minutes), self.now.steady + minutes * MINUTE
        )
        return self

    def clock_steps(self, minutes: float) -> World:
        self.now = Moment(self.now.wall + timedelta(minutes=minutes), self.now.steady)
        return self

    def works(self) -> World:
        self.last = self.now.wall
        self.seq += 1
        return self

    def look(self, *, answers: bool = True) -> Verdict:
        assert self.memory is not None
        asked = answers and worth_asking(self.memory, self.now, self.limits)
        if asked:
            activity = Activity(self.last, self.busy, frozenset({f"{self.last} {self.seq}"}))
            self.memory = note_answer(self.memory, self.now, activity)
        verdict, self.memory = decide(
            self.memory, self.now, self.limits, asked=asked, wanted=self.wanted
        )
        return verdict


def ends(verdict: Verdict) -> EndReason | None:
    return verdict.reason if isinstance(verdict, End) else None


def test_a_new_session_is_kept() -> None:
    assert World().start().look() == Keep()


def test_an_idle_session_is_warned_in_time_for_its_grace_and_then_ended() -> None:
    world = World().start()
    assert world.passes(54).look() == Keep()
    verdict = world.passes(1).look()
    assert isinstance(verdict, Warn)
    (announced,) = verdict.ends
    assert announced.reason is EndReason.IDLE
    assert announced.at == NOON + timedelta(hours=1)
    assert isinstance(world.passes(4.9).look(), Warn)
    assert ends(world.passes(0.1).look()) is EndReason.IDLE


def test_a_warning_that_comes_late_still_stands_its_whole_grace() -> None:
    world = World().start()
    verdict = world.passes(300).look()
    assert isinstance(verdict, Warn)
    assert verdict.ends[0].at == world.now.wall + LIMITS.grace
    assert isinstance(world.passes(4.9).look(), Warn)
    assert ends(world.passes(0.1).look()) is EndReason.IDLE


def test_activity_takes_a_warning_back() -> None:
    world = World().start().passes(56)
    assert isinstance(world.look(), Warn)
    world.passes(1).works()
    assert world.passes(2).look() == Keep()
    assert world.passes(50).look() == Keep()
    assert isinstance(world.passes(4).look(), Warn), "the hour counts from the work"


def test_a_busy_kernel_is_never_idle_however_old_its_stamps_are() -> None:
    world = World(busy=True).start()
    for _ in range(12):
        assert world.passes(240).look() == Keep()


def test_the_hour_after_a_busy_kernel_counts_from_when_it_was_last_seen_busy() -> None:
    world = World(busy=True).start()
    assert world.passes(240).look() == Keep()
    world.busy = False
    assert world.passes(54).look() == Keep()
    assert isinstance(world.passes(1).look(), Warn)


def test_a_session_that_cannot_be_asked_is_never_ended_for_idleness() -> None:
    world = World().start()
    for _ in range(24):
        assert world.passes(60).look(answers=False) == Keep()


def test_an_announced_end_is_taken_back_when_the_session_stops_answering() -> None:
    world = World().start().passes(56)
    assert isinstance(world.look(), Warn)
    assert world.passes(10).look(answers=False) == Keep()
    assert isinstance(world.passes(1).look(), Warn), "it is announced anew, with a whole grace"
    assert isinstance(world.passes(4).look(), Warn)
    assert ends(world.passes(1).look()) is EndReason.IDLE


def test_a_long_session_ends_at_its_lifetime_even_when_busy_or_mute() -> None:
    for world, answers in ((World(busy=True), True), (World(), False)):
        world.start()
        assert world.passes(3 * 1440 - 6).look(answers=answers) == Keep()
        verdict = world.passes(1).look(answers=answers)
        assert isinstance(verdict, Warn)
        assert [end.reason for end in verdict.ends] == [EndReason.LIFETIME]
        assert ends(world.passes(5).look(answers=answers)) is EndReason.LIFETIME


def test_both_ends_are_announced_the_earlier_one_first() -> None:
    limits = Limits(timedelta(minutes=60), timedelta(minutes=62), timedelta(minutes=5))
    verdict = World(limits=limits).start().passes(58).look()
    assert isinstance(verdict, Warn)
    assert [end.reason for end in verdict.ends] == [EndReason.IDLE, EndReason.LIFETIME]


def test_jupyterhubs_stamp_is_activity_too() -> None:
    world = World().start().passes(50)
    assert world.memory is not None
    world.memory = note_hub(world.memory, world.now, world.now.wall - timedelta(minutes=10))
    assert world.passes(44).look() == Keep()
    assert isinstance(world.passes(1).look(), Warn)


@pytest.mark.parametrize("zone", [timedelta(hours=9), timedelta(hours=-9)])
def test_a_stamp_of_another_time_zone_only_counts_when_it_changes(zone: timedelta) -> None:
    world = World().start().passes(29.5)
    assert world.memory is not None
    world.memory = note_hub(world.memory, world.now, None)
    world.passes(0.5)
    world.memory = note_hub(world.memory, world.now, world.now.wall + zone)
    for _ in range(54):
        assert world.passes(1).look() == Keep()
        world.memory = note_hub(world.memory, world.now, world.memory.hub_stamp)
    assert isinstance(world.passes(32).look(), Warn), "the unchanged stamp is no new use"


def test_a_session_met_after_a_restart_counts_from_its_real_start() -> None:
    world = World().start(started=NOON - timedelta(days=2, hours=23))
    assert world.look() == Keep() or isinstance(world.look(), Warn)
    world.busy = True
    assert ends(world.passes(55).look()) is None
    assert ends(world.passes(5).look()) is EndReason.LIFETIME


@pytest.mark.parametrize("step", [-1440, -90, 90, 1440])
def test_a_stepped_clock_ends_nothing_that_is_used(step: float) -> None:
    world = World().start().passes(30).works()
    world.look()
    world.clock_steps(step)
    for _ in range(40):
        world.passes(10).works()
        assert ends(world.passes(0.5).look()) is None


@pytest.mark.parametrize("step", [-1440, -90, 90, 1440])
def test_a_stepped_clock_keeps_no_idle_session_for_ever(step: float) -> None:
    world = World().start().passes(30).works()
    world.look()
    world.clock_steps(step)
    looks = 0
    while ends(world.passes(1).look()) is None:
        looks += 1
        assert looks < abs(step) + 120


def test_a_forward_step_shortens_neither_idle_nor_lifetime() -> None:
    world = World().start().passes(10)
    world.look()
    world.clock_steps(10 * 1440)
    assert world.passes(40).look() == Keep()
    world.busy = True
    assert world.passes(2 * 1440).look() == Keep()


def test_a_session_whose_stamps_lie_in_the_future_is_kept() -> None:
    world = World(last=NOON + timedelta(days=400)).start()
    for _ in range(10):
        assert world.passes(120).look() == Keep()


def test_without_grace_the_end_comes_at_the_limit() -> None:
    limits = Limits(timedelta(minutes=10), timedelta(days=1), timedelta(0))
    world = World(limits=limits).start()
    assert world.passes(9).look() == Keep()
    assert ends(world.passes(1).look()) is EndReason.IDLE


def test_the_next_look_is_due_when_the_verdict_changes() -> None:
    world = World().start()

    def minutes_to_wait() -> float | None:
        assert world.memory is not None
        seconds = next_change(world.memory, world.now, world.limits)
        return None if seconds is None else seconds / MINUTE

    assert world.look() == Keep()
    assert minutes_to_wait() == 55
    assert isinstance(world.passes(56).look(), Warn)
    assert minutes_to_wait() == pytest.approx(5)
    world.look(answers=False)
    assert minutes_to_wait() == 3 * 1440 - 5 - 56, "what cannot be asked changes nothing soon"


def test_what_is_wanted_back_is_announced_at_once_and_ends_after_its_grace() -> None:
    world = World(busy=True).start().passes(10)
    world.wanted = EndReason.PREEMPTED
    verdict = world.look(answers=False)
    assert isinstance(verdict, Warn)
    (announced,) = verdict.ends
    assert announced.reason is EndReason.PREEMPTED
    assert announced.at == world.now.wall + timedelta(minutes=5)
    assert world.memory is not None
    assert next_change(world.memory, world.now, world.limits) == 5 * MINUTE
    # The clock on the wall neither shortens the grace nor prolongs it.
    assert isinstance(world.passes(4.9).clock_steps(600).look(), Warn)
    assert ends(world.clock_steps(-1200).passes(0.1).look()) is EndReason.PREEMPTED


def test_what_is_wanted_back_no_more_is_announced_no_more() -> None:
    world = World(busy=True).start()
    world.wanted = EndReason.DRAINED
    assert isinstance(world.look(), Warn)
    world.wanted = None
    assert world.passes(4).look() == Keep()
    world.wanted = EndReason.PREEMPTED
    assert isinstance(world.passes(4).look(), Warn), "it has a whole grace again"
    assert ends(world.passes(5).look()) is EndReason.PREEMPTED


def test_another_reason_to_want_it_back_does_not_prolong_the_grace() -> None:
    world = World(busy=True).start()
    world.wanted = EndReason.PREEMPTED
    world.look()
    world.wanted = EndReason.DRAINED
    assert isinstance(world.passes(4).look(), Warn)
    assert ends(world.passes(1).look()) is EndReason.DRAINED


def test_of_several_ends_the_earliest_comes() -> None:
    limits = Limits(timedelta(minutes=60), timedelta(minutes=90), timedelta(minutes=5))
    world = World(limits=limits).start().passes(57)
    assert isinstance(world.look(), Warn)
    world.wanted = EndReason.PREEMPTED
    verdict = world.passes(1).look()
    assert isinstance(verdict, Warn)
    assert [end.reason for end in verdict.ends] == [EndReason.IDLE, EndReason.PREEMPTED]
    assert ends(world.passes(4).look()) is EndReason.IDLE


@given(
    steps=st.lists(
        st.tuples(
            st.floats(0.1, 90),  # minutes that pass
            st.sampled_from([0, 0, 0, -600, -61, 61, 600]),  # a step of the wall clock
            st.booleans(),  # the user works
            st.booleans(),  # the session answers
            st.sampled_from([None, None, EndReason.PREEMPTED]),  # others want what it holds
        ),
        max_size=60,
    )
)
def test_every_end_was_announced_for_its_whole_grace(
    steps: list[tuple[float, float, bool, bool, EndReason | None]],
) -> None:
    limits = Limits(timedelta(minutes=30), timedelta(hours=20), timedelta(minutes=5))
    world = World(limits=limits).start()
    announced: dict[EndReason, float] = {}
    for minutes, step, works, answers, wanted in steps:
        world.wanted = wanted
        world.passes(minutes).clock_steps(step)
        if works:
            world.works()
        verdict = world.look(answers=answers)
        if isinstance(verdict, End):
            assert world.now.steady - announced[verdict.reason] >= 5 * MINUTE - 1e-6
            assert verdict.reason is not EndReason.IDLE or answers
            return
        now_announced = {e.reason for e in verdict.ends} if isinstance(verdict, Warn) else set()
        announced = {r: announced.get(r, world.now.steady) for r in now_announced}
