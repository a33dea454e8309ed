"""Whatever happens to a node, in whatever order: every allocated millisecond once."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from arcetri_accounting.contract.units import QUARTER_MS
from arcetri_accounting.contract.usage import Segment
from tests.accounting.agent.world import INTERVAL, World, total

DEVICES = ("GPU-0", "GPU-1", "MIG-0", "SIM-1", "")

ordinary = st.one_of(
    st.tuples(st.just("cycle"), st.integers(1, 40)),
    st.tuples(st.just("tick"), st.integers(0, 9_999)),
    st.tuples(st.just("start"), st.sampled_from(DEVICES)),
    st.tuples(st.just("start"), st.sampled_from(DEVICES)),
    st.tuples(st.just("end"), st.integers(0, 4)),
    st.tuples(st.just("late end"), st.integers(0, 4)),
)
disturbing = st.one_of(
    st.tuples(st.just("kill"), st.just(0)),
    st.tuples(st.just("stop"), st.just(0)),
    st.tuples(st.just("away"), st.integers(0, 4_000_000)),
    st.tuples(st.just("set clock"), st.integers(-5_000_000, 5_000_000)),
    st.tuples(st.just("sleep"), st.integers(1, 4_000_000)),
    st.tuples(st.just("hang"), st.sampled_from(DEVICES[:2])),
    st.tuples(st.just("lose"), st.sampled_from(DEVICES[:2])),
    st.tuples(st.just("remake"), st.just("MIG-0")),
    st.tuples(st.just("driver"), st.just(0)),
    st.tuples(st.just("unshipped"), st.just(0)),
)


class History:
    """Plays the operations."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.open: dict[str, str] = {}
        self.alive = True
        world.sampler.add("GPU-0", busy=3_333)
        world.sampler.add("GPU-1", busy=10_000, occupied=False)
        world.sampler.add("MIG-0", busy=None)

    def play(self, name: str, value: object) -> None:
        world = self.world
        if name == "cycle":
            assert isinstance(value, int)
            world.cycle(value)
        elif name == "tick":
            assert isinstance(value, int)
            world.clock.tick(value)
        elif name == "start":
            device = str(value)
            if device not in self.open.values():
                session = world.begin(*[device] if device else [], share="1/7")
                self.open[session] = device
        elif name in ("end", "late end"):
            assert isinstance(value, int)
            self.end(value, ago=5_000 if name == "late end" else 0)
        else:
            self.disturb(name, value)

    def end(self, number: int, ago: int) -> None:
        sessions = list(self.open)
        if not sessions:
            return
        number %= len(sessions)
        began = self.world.truth[sessions[number]][0]
        assert began is not None
        room = self.world.clock.now().boot - began
        # An end that is read later than the lag can only be taken back to the last cut.
        place = (sessions[number], self.open[sessions[number]])
        if place in self.world.agent.books.holdings:
            cut = self.world.agent.books.holdings[place].piece.b0
            room = min(room, max(self.world.clock.now().boot - cut, 0))
        self.world.finish(sessions[number], ago=min(ago, room))
        del self.open[sessions[number]]

    def disturb(self, name: str, value: object) -> None:
        world, gpus = self.world, self.world.sampler.gpus
        if name == "kill":
            world.restart()
        elif name == "stop":
            world.agent.finish()
            world.collect()
            world.restart()
        elif name == "away":
            assert isinstance(value, int)
            world.kill_agent()
            world.clock.tick(value)
            world.start_agent()
        elif name == "set clock":
            assert isinstance(value, int)
            world.clock.wall += value
        elif name == "sleep":
            assert isinstance(value, int)
            world.clock.tick(value, asleep=True)
        elif name == "hang":
            gpus[str(value)].hangs = not gpus[str(value)].hangs
        elif name == "lose":
            gpus[str(value)].down = not gpus[str(value)].down
        elif name == "remake":
            gpus["MIG-0"].remade = True
        elif name == "driver":
            world.sampler.driver = not world.sampler.driver
        elif name == "unshipped":
            world.clock.tick(INTERVAL)
            world.agent.cycle()
            world.tail = world.agent.tail()

    def check(self) -> None:
        world = self.world
        for session in list(self.open):
            world.finish(session)
        world.cycle(4)
        for session in world.truth:
            segments = world.segments(session)
            assert total(segments) == world.duration(session), session
            self.check_segments(segments)

    def check_segments(self, segments: list[Segment]) -> None:
        for before, after in pairwise(segments):
            assert after.b0 == before.b0 + before.dur_ms
        for segment in segments:
            allocation = self.world.allocations[segment.allocation]
            assert (segment.used_u or 0) <= 1440 * segment.util_ms
            assert segment.t0 // QUARTER_MS == (segment.t1 - 1) // QUARTER_MS
            if allocation.device in ("SIM-1", ""):
                assert segment.unobserved_ms == segment.dur_ms
            if allocation.device == "GPU-1":
                assert segment.occupied_ms == 0


@settings(max_examples=80, deadline=None)
@given(st.lists(st.one_of(ordinary, disturbing), min_size=5, max_size=40))
def test_every_allocated_millisecond_once(history: list[tuple[str, object]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        try:
            played = History(world)
            world.cycle()
            for name, value in history:
                played.play(name, value)
            played.check()
        finally:
            world.close()
