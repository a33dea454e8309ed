"""The life of a session as a process: start, poll, end, and what is left of it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from datetime import timedelta
from pathlib import Path

import pytest

from arcetri_accounting.contract.journal import LeaseEnded, LeaseStarted
from arcetri_spawner.backends.base import Exited, Running, TicketState
from arcetri_spawner.backends.local import procs
from arcetri_spawner.backends.local.starting import ServerFailed
from arcetri_spawner.errors import StartFailed
from tests.spawner.local.world import World, facts, launch, recovered

GRACE = timedelta(seconds=5)


def processes(world: World) -> int:
    return sum(map(len, procs.sessions_of(world.config.instance_id).values()))


async def test_a_session_runs_on_the_device_it_was_given(world: World) -> None:
    session = await world.start(await world.grant())

    assert await world.backend.poll(session) == Running()
    [device] = session.devices
    assert device.uuid == "SIM-t4-1"
    said = facts(session)
    assert said["env"]["CUDA_VISIBLE_DEVICES"] == "SIM-t4-1"
    assert said["argv"] == ["-m", "jupyterhub.singleuser", "--flag"]
    [record] = world.journal()
    assert isinstance(record, LeaseStarted)
    assert record.devices[0].uuid == "SIM-t4-1"
    assert record.devices[0].simulated


async def test_a_stopped_session_leaves_nothing(world: World) -> None:
    grant = await world.grant()
    session = await world.start(grant)

    await world.backend.stop(session, GRACE, reason="idle")
    await world.queue.finish(await world.ticket(grant))

    assert await world.backend.wait(session) == Exited(0, "idle")
    assert processes(world) == 0
    assert await world.store.leases() == {}
    start, end = world.journal()
    assert isinstance(end, LeaseEnded)
    assert (end.session, end.reason, end.at_is_estimate) == (str(session.id), "idle", False)
    assert end.seq == start.seq + 1


async def test_a_server_that_does_not_heed_is_killed(world: World) -> None:
    session = await world.start(await world.grant(), FAKE_STUBBORN="1")

    await world.backend.stop(session, timedelta(seconds=0.2))

    exited = await world.backend.wait(session)
    assert exited.code < 0
    assert exited.reason == "stopped"
    assert processes(world) == 0


@pytest.mark.parametrize("victim", ["server", "keeper"])
async def test_children_do_not_survive_a_server_that_is_killed(
    world: World, tmp_path: Path, victim: str
) -> None:
    pids = tmp_path / "pids"
    session = await world.start(await world.grant(), FAKE_CHILDREN="4", FAKE_PIDS=str(pids))
    while len(pids.read_text().split()) < 4:
        await asyncio.sleep(0.02)
    record = await world.store.session(session.id)
    assert record is not None

    pid = facts(session)["pid"] if victim == "server" else record.pid
    os.kill(pid, signal.SIGKILL)
    exited = await asyncio.wait_for(world.backend.wait(session), 10)

    assert exited == Exited(-9, "killed")
    assert processes(world) == 0
    marked = [int(pid) for pid in pids.read_text().split()]
    if victim == "server":
        # Also those that threw their environment away: the keeper is everybody's parent.
        assert not any(_runs(pid) for pid in marked)
    else:
        for pid in marked:
            _kill(pid)


def _runs(pid: int) -> bool:
    stat = procs.read_stat(pid)
    return stat is not None and stat.running


def _kill(pid: int) -> None:
    if _runs(pid):
        os.kill(pid, signal.SIGKILL)


async def test_a_server_that_ends_by_itself_is_noticed(world: World) -> None:
    session = await world.start(await world.grant())

    os.kill(facts(session)["pid"], signal.SIGTERM)

    assert await asyncio.wait_for(world.backend.wait(session), 10) == Exited(0, "exited")


async def test_an_early_death_is_told_at_once_with_the_last_words(world: World) -> None:
    grant = await world.grant()

    with pytest.raises(ServerFailed) as caught:
        await world.start(grant, FAKE_EXIT="3", FAKE_LAST_WORDS="No module named torch")

    assert caught.value.code == "start_failed"
    assert "exit status 3" in caught.value.message
    assert "No module named torch" in caught.value.details
    assert processes(world) == 0
    assert [record.type for record in world.journal()] == ["start", "end"]
    events = [event async for event in world.backend.progress(grant.request_id)]
    assert "No module named torch" in events[-1].details


async def test_a_silent_server_is_given_up(tmp_path: Path) -> None:
    async with recovered(tmp_path, start_timeout=0.5) as world:
        with pytest.raises(StartFailed, match="did not answer within"):
            await world.start(await world.grant(), FAKE_SILENT="1")
        assert processes(world) == 0


@pytest.mark.parametrize("after", [0.0, 0.001, 0.01, 0.3])
async def test_a_cancelled_start_leaves_nothing(world: World, after: float) -> None:
    grant = await world.grant()
    ticket = await world.ticket(grant)
    start = asyncio.create_task(
        world.backend.start(grant, ticket, launch(FAKE_SILENT="1", FAKE_STUBBORN="1"))
    )
    await asyncio.sleep(after)

    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start

    assert processes(world) == 0
    kinds = [record.type for record in world.journal()]
    assert kinds in ([], ["start", "end"])


async def test_a_stop_during_the_start_ends_it(world: World) -> None:
    grant = await world.grant()
    ticket = await world.ticket(grant)
    start = asyncio.create_task(world.backend.start(grant, ticket, launch(FAKE_SILENT="1")))
    while not world.backend._live:
        await asyncio.sleep(0.01)
    [live] = world.backend._live.values()

    await world.backend.stop(live.session, GRACE)

    with pytest.raises(StartFailed, match="was ended while it started"):
        await start


async def test_progress_is_told_from_the_first_step(world: World) -> None:
    grant = await world.grant()
    await world.start(grant)

    events = [event async for event in world.backend.progress(grant.request_id)]

    percents = [event.percent for event in events]
    assert percents == sorted(percents)
    assert "NVIDIA T4 (simulated)" in events[0].message
    assert events[-1].percent == 100


async def test_a_taken_port_is_tried_again_on_another(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stranger(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    squatter = await asyncio.start_server(stranger, "127.0.0.1", 0)
    taken = squatter.sockets[0].getsockname()[1]
    starter = world.backend._starter
    free = starter._two_ports()[1]
    monkeypatch.setattr(starter, "_two_ports", lambda: (taken, free))

    session = await world.start(await world.grant())

    assert session.url == f"http://127.0.0.1:{free}"
    record = await world.store.session(session.id)
    assert record is not None
    assert record.port == free
    squatter.close()
    await squatter.wait_closed()


async def test_a_cpu_session_sees_no_device_and_takes_a_place(world: World) -> None:
    session = await world.start(await world.grant(flavor="cpu"))
    second = await world.start(await world.grant("bob", flavor="cpu"))
    third = await world.ticket(await world.grant("carol", flavor="cpu"))

    assert session.devices == ()
    said = facts(session)["env"]
    assert said["CUDA_VISIBLE_DEVICES"] == ""
    assert said["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert second.devices == ()
    assert third.state is TicketState.WAITING


async def test_nothing_of_the_hub_reaches_a_session(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("JUPYTERHUB_CRYPT_KEY", "CONFIGPROXY_AUTH_TOKEN", "OIDC_CLIENT_SECRET", "FOO"):
        monkeypatch.setenv(name, "hub-secret")
    monkeypatch.setenv("ARCETRI_SETTINGS", "hub-secret")
    read, write = os.pipe()
    os.set_inheritable(write, True)

    session = await world.start(
        await world.grant(), JUPYTERHUB_CRYPT_KEY="hub-secret", PYTHONPATH="/hub"
    )

    said = facts(session)
    assert "hub-secret" not in said["env"].values()
    assert "PYTHONPATH" not in said["env"]
    assert said["env"]["JUPYTERHUB_API_TOKEN"] == "session-token"
    assert len(said["fds"]) < 8
    os.close(read)
    os.close(write)


async def test_the_log_is_bounded(world: World) -> None:
    session = await world.start(await world.grant(), FAKE_CHATTER="4000")
    folder = world.config.sessions_dir / str(session.id)
    deadline = time.monotonic() + 20
    while "3999 " not in world.log_of(session.id):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)

    assert sum(path.stat().st_size for path in folder.glob("log*")) <= 2 * 1024 * 1024


async def test_sixteen_starts_at_once_for_two_devices(world: World) -> None:
    grants = [await world.grant(f"user{number}") for number in range(16)]

    tickets = await asyncio.gather(*(world.ticket(grant) for grant in grants))

    admitted = [ticket for ticket in tickets if ticket.state is TicketState.ADMITTED]
    assert len(admitted) == 2
    held = {ticket.placement.devices[0].uuid for ticket in admitted if ticket.placement}
    assert held == {"SIM-t4-1", "SIM-t4-2"}
    waiting = next(ticket for ticket in tickets if ticket.state is TicketState.WAITING)
    assert waiting.reason is not None
    assert waiting.reason.sentence
