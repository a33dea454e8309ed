"""What an agent that is killed finds again is all that it knew when its cycle ended.

What is new is noted beside what was kept, without a transaction, where everything only went on.
Whatever became another meanwhile must not be left out of it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from arcetri_accounting.agent import state
from arcetri_accounting.agent.figures import Figures
from arcetri_accounting.agent.keeper import Keeper
from arcetri_accounting.agent.loop import HEARTBEATS, Agent
from arcetri_accounting.spool import Outbox
from tests.accounting.agent.world import INTERVAL, World

GPUS = ("GPU-0", "GPU-1")

_MOVES = st.sampled_from(
    [
        *(("begin", uuid) for uuid in GPUS),
        *(("lost", uuid) for uuid in GPUS),
        *(("hangs", uuid) for uuid in GPUS),
        *(("remade", uuid) for uuid in GPUS),
        *(("away", uuid) for uuid in GPUS),
        *(("sleep", "") for _ in range(4)),
        ("finish", ""),
        ("finish late", ""),
        ("clock", ""),
        ("drift", ""),
        ("damage", ""),
    ]
)


def found_again(world: World) -> Agent:
    """Another agent over a copy of what is on the disk."""
    folder = Path(tempfile.mkdtemp(dir=world.folder))
    for path in world.folder.glob("spool.db*"):
        if path.suffix != ".lock":
            shutil.copy(path, folder)
    outbox = Outbox(folder / "spool.db", dict)
    keeper = Keeper(lambda _born: outbox, world.clock, Figures())
    agent = Agent(keeper, world.source, world.sampler, world.clock, Figures(), INTERVAL)
    outbox.close()
    return agent


def known(agent: Agent) -> object:
    """Of holdings and devices, all that is kept."""
    rows = state.dump_holdings(agent.books), state.dump_devices(agent.presences)
    return json.loads(json.dumps(rows)), agent.books.offset


def move(world: World, what: str, uuid: str, running: list[str]) -> None:
    gpu = world.sampler.gpus.get(uuid)
    if what == "begin":
        running.append(world.begin(uuid))
    elif what.startswith("finish") and running:
        world.finish(running.pop(0), ago=7_000 if what == "finish late" else 0)
    elif what == "lost" and gpu:
        gpu.down = not gpu.down
    elif what == "hangs" and gpu:
        gpu.hangs = not gpu.hangs
    elif what == "remade" and gpu:
        gpu.remade = True
    elif what == "away":
        if world.sampler.gpus.pop(uuid, None) is None:
            world.sampler.add(uuid)
    elif what == "clock":
        world.clock.wall += 3_600_000
    elif what == "drift":
        world.clock.wall += 600
    elif what == "damage":
        world.damage()


@given(moves=st.lists(st.tuples(_MOVES, st.integers(1, 3)), max_size=12))
@settings(max_examples=60, deadline=None)
def test_killed_after_any_cycle_it_knows_what_it_knew(
    moves: list[tuple[tuple[str, str], int]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        world = World(Path(name))
        for uuid in GPUS:
            world.sampler.add(uuid)
        running: list[str] = []
        for number, ((what, uuid), cycles) in enumerate([(("sleep", ""), 2), *moves]):
            move(world, what, uuid, running)
            for _ in range(cycles):
                world.clock.tick(INTERVAL)
                world.agent.cycle(told=number % 2 == 0)
                world.collect()
                again = found_again(world)
                assert known(again) == known(world.agent)
                assert again.heartbeat == world.agent.heartbeat + HEARTBEATS
        world.close()
