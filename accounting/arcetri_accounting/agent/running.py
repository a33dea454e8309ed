"""The agent as a process: its parts put together, its cycles in time, its end."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from arcetri_accounting.agent.allocations import AllocationSource
from arcetri_accounting.agent.clock import Clock, SystemClock
from arcetri_accounting.agent.figures import Figures
from arcetri_accounting.agent.journal import LeaseJournal
from arcetri_accounting.agent.keeper import Keeper
from arcetri_accounting.agent.loop import Agent
from arcetri_accounting.agent.sampler import Sampler
from arcetri_accounting.agent.sampler.nvml import NvmlSampler
from arcetri_accounting.agent.settings import AgentSettings
from arcetri_accounting.agent.shipper import Post, Shipper
from arcetri_accounting.agent.transport import Transport
from arcetri_accounting.contract.units import QUARTER_MS
from arcetri_accounting.spool import Outbox, SpoolCorrupt

log = structlog.get_logger(__name__)

_TOKEN_BYTES: Final = 65_536
"""More than any token has."""
TELL_MS: Final = 20_000
"""How long the ledger may be told nothing of what runs: a page shows it within 30 s."""
LAST_TRY: Final = 5.0
"""Seconds that the last delivery may take at the end."""


def run(settings: AgentSettings, stop: threading.Event) -> None:
    """Be the agent until ``stop`` is set.

    Raises:
        SpoolError: The spool cannot be opened.
        ValueError: The ledger's address cannot be one, or nothing says who holds what.
    """
    clock = SystemClock()
    figures = Figures()
    interval_ms = round(settings.interval * 1000)
    transport = Transport(settings.ledger, lambda: read_token(settings.token_file))
    shipper = Shipper(settings.node, transport, clock, figures, interval_ms)
    keeper = Keeper(lambda born: Outbox(settings.spool, born), clock, figures)
    with contextlib.ExitStack() as stack:
        source = _source(settings, clock, figures, stack)
        sampler = NvmlSampler(clock, figures, interval_ms)
        agent = _agent(keeper, source, sampler, clock, figures, interval_ms)
        _work(settings, agent, keeper, shipper, clock, figures, stop)


def _source(
    settings: AgentSettings, clock: Clock, figures: Figures, stack: contextlib.ExitStack
) -> AllocationSource:
    """Where allocations come from on this machine; closed with the stack."""
    if settings.journal is not None:
        return LeaseJournal(settings.journal, f"agent@{settings.node}")
    if settings.pods is None:
        raise ValueError(
            "the agent needs a lease journal, or the namespace of a cluster's sessions"
        )
    # Imported here: one machine needs neither HTTP/2 nor protobuf, and does not install them.
    from arcetri_accounting.agent.pods.joining import Terms
    from arcetri_accounting.agent.pods.source import PodSource
    from arcetri_accounting.client.apiserver import MOUNTED, ApiServer, NotInCluster

    pods = settings.pods
    try:
        server = ApiServer.of_pod(mounted=pods.service_account or MOUNTED)
    except NotInCluster as error:
        raise ValueError(str(error)) from None
    source = PodSource(
        Terms(settings.node, pods.namespaces, pods.resources, pods.instance),
        settings.spool.with_name(f"{settings.spool.name}.pods"),
        pods.socket,
        server,
        clock,
        figures,
        settings.interval / 2,
    )
    stack.callback(source.close)
    source.start()
    return source


def _work(
    settings: AgentSettings,
    agent: Agent,
    keeper: Keeper,
    shipper: Shipper,
    clock: Clock,
    figures: Figures,
    stop: threading.Event,
) -> None:
    interval_ms = round(settings.interval * 1000)
    port = _serve(figures, settings.metrics_host, settings.metrics_port)
    log.info(
        "the agent runs",
        node=settings.node,
        epoch=keeper.outbox.epoch.id,
        new_epoch=keeper.outbox.epoch.fresh,
        waiting=keeper.outbox.depth(),
        metrics_port=port,
    )
    shipper.start()
    turns = Turns(interval_ms)

    def cycle() -> None:
        agent.cycle(told=turns.coming(figures.depth))
        if turns.due(agent.books.changes, figures.depth):
            _offer(shipper, keeper, agent)

    # What is there by now stays, and a cycle leaves nothing that refers to itself: looking for such
    # things several times in each would cost a tenth of it. ``keep_time`` looks now and then.
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        keep_time(cycle, clock, figures, interval_ms, stop)
    finally:
        with contextlib.suppress(Exception):
            agent.finish()
            _offer(shipper, keeper, agent)
        shipper.finish(LAST_TRY)
        keeper.outbox.close()
        log.info("the agent has ended", waiting=figures.depth)


def _serve(figures: Figures, host: str, port: int | None) -> int | None:
    """Serve metrics where they are asked for; a port that is taken is no reason not to record."""
    if port is None:
        return None
    from arcetri_accounting.agent.metrics import serve

    try:
        return serve(figures, port, host)
    except OSError as error:
        log.error("metrics cannot be served; usage is recorded", port=port, error=str(error))
        return None


def keep_time(
    cycle: Callable[[], None],
    clock: Clock,
    figures: Figures,
    interval_ms: int,
    stop: threading.Event,
) -> None:
    """Call ``cycle`` at every multiple of the interval, and at quarter hours, until stopped.

    What refers to itself, such as a failed request, is let go of each quarter hour.
    """
    swept = clock.now().wall // QUARTER_MS
    while not stop.is_set():
        began = clock.now()
        cycle()
        now = clock.now()
        figures.cycle_ms = now.awake - began.awake
        # A cycle that takes longer than its interval costs those that should have begun meanwhile.
        figures.cycles_missed += figures.cycle_ms // interval_ms
        if (quarter := now.wall // QUARTER_MS) != swept:
            swept = quarter
            gc.collect()
        stop.wait((_next(now.wall, interval_ms) - now.wall) / 1000)


def _next(wall: int, interval_ms: int) -> int:
    return min((wall // each + 1) * each for each in (interval_ms, QUARTER_MS))


def read_token(path: Path) -> str:
    """The token in a file, read at every use: it may be changed while the agent runs."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, _TOKEN_BYTES).decode().strip()
    finally:
        os.close(file)


class Turns:
    """After which cycles the ledger is told what runs.

    After every second one, where that is often enough, since a delivery costs as much as the looks
    of a cycle; and at once where a session began or ended, or records wait.
    """

    def __init__(self, interval_ms: int) -> None:
        self._every = 2 if 2 * interval_ms <= TELL_MS else 1
        self._left = 0
        self._changes = -1

    def coming(self, waiting: int) -> bool:
        """Whether it is after the next one, whatever begins and ends in that."""
        return self._left <= 1 or waiting > 0

    def due(self, changes: int, waiting: int) -> bool:
        """Whether it is after this one; ``changes`` grows with what begins and ends."""
        self._left -= 1
        if self._left > 0 and changes == self._changes and not waiting:
            return False
        self._left, self._changes = self._every, changes
        return True


def _offer(shipper: Shipper, keeper: Keeper, agent: Agent) -> None:
    shipper.offer(Post(keeper.outbox, agent.tail(), agent.heartbeat))


def _agent(
    keeper: Keeper,
    source: AllocationSource,
    sampler: Sampler,
    clock: Clock,
    figures: Figures,
    interval_ms: int,
) -> Agent:
    try:
        return Agent(keeper, source, sampler, clock, figures, interval_ms)
    except (SpoolCorrupt, KeyError, TypeError, ValueError) as error:
        # What SQLite holds to be whole, but the state in it is not.
        log.error("the state in the spool cannot be read; a new epoch begins", error=str(error))
        keeper.begin_anew(f"Its state cannot be read: {type(error).__name__}.")
        return Agent(keeper, source, sampler, clock, figures, interval_ms)
