"""Five hundred notebooks asked for at once behind the real Kueue, with room for a hundred.

Twenty groups share a hundred devices of simulated nodes, five each. First it is seen what waiting
costs: a hundred sessions run, and a hundred people wait, then four hundred, in the same queues; the
hub's processor time and what it asks of the API server are counted while nothing happens, once with
nobody looking and once with everybody's page open in a tab behind others. Then everybody asks at
the same moment, and each session is ended as soon as it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx
from kubernetes.aio import client, config

from benchmarks.cluster import hubs, site
from benchmarks.cluster.site import Asked
from benchmarks.hubs import Hub
from kueue_client import AsyncKueue, ConditionType
from tests.cluster import kueue as real

CROWD = 500
ROOM = 100
GROUPS = 20
WATCHED_SECONDS = 60.0
"""As long as the longest of the rounds that the hub makes."""
SETTLE_SECONDS: Final = 12.0
LOOKS_EVERY: Final = 10.0
"""As a waiting page that is not in view asks how it stands (HIDDEN in waiting.js), in seconds."""
PATIENCE: Final = 420.0
LOOK: Final = 0.5
AT_ONCE: Final = 20
"""Who asks before the measurement does so in small crowds."""


def run(
    crowd: int = CROWD, room: int = ROOM, groups: int = GROUPS, watched: float = WATCHED_SECONDS
) -> dict[str, Any]:
    """Measure what waiting costs, then let the crowd through."""
    users = site.people(crowd)
    entitled = {"flavors": {"simulated": {"quota": room // groups}}}
    with (
        tempfile.TemporaryDirectory(prefix="arcetri-bench-") as name,
        site.started("queue") as cluster,
    ):
        real.install(cluster)
        site.simulate(cluster, groups, devices=room // groups)
        made = {f"/bench/group-{number:02}": entitled for number in range(groups)}
        with (
            hubs.ours(
                cluster, Path(name), "none", users, flavor="simulated", groups=made, queues="bench"
            ) as hub,
            real.reachable(cluster, Path(name)) as kubeconfig,
        ):
            asked = Asked(cluster, hubs.OUR_ACCOUNT)
            costs = asyncio.run(_costs(hub, asked, users, room, watched))
            through = asyncio.run(_through(hub, kubeconfig))
    few, many = costs["few"], costs["many"]
    return {
        "asked": crowd,
        "room": room,
        "queues": groups,
        **through,
        "waiting": costs,
        "cpu_ratio": many["cpu_of_a_core"] / few["cpu_of_a_core"],
        "cpu_of_a_core_a_waiting_one": (many["cpu_of_a_core"] - few["cpu_of_a_core"])
        / (many["waiting"] - few["waiting"]),
    }


# What waiting costs


async def _costs(
    hub: Hub, asked: Asked, users: Sequence[str], room: int, watched: float
) -> dict[str, dict[str, Any]]:
    """The hub at rest: with all devices in use, and nobody, few and many who wait."""
    found = {}
    async with _client(hub) as web:
        await _ask_all(web, hub, users[:room])
        await _until(hub, {"running": room})
        found["none"] = await _at_rest(hub, asked, 0, watched)
        for name, waiting in (("few", room), ("many", len(users) - room)):
            before = _standing(hub)["waiting"]
            await _ask_all(web, hub, users[room + before : room + waiting])
            await _until(hub, {"running": room, "waiting": waiting})
            found[name] = await _at_rest(hub, asked, waiting, watched)
            async with _pages(web, hub) as looks:
                found[f"{name}_look"] = await _at_rest(hub, asked, waiting, watched, looks)
        # Who waits goes first, so that nobody starts any more.
        for some in (users[room:], users[:room]):
            await asyncio.gather(*(_end(web, hub, user) for user in some))
        await _until(hub, {})
    return found


async def _at_rest(
    hub: Hub, asked: Asked, waiting: int, seconds: float, looks: list[float] | None = None
) -> dict[str, Any]:
    await asyncio.sleep(SETTLE_SECONDS)
    await asyncio.to_thread(asked.since_last)
    began, cpu = time.monotonic(), hub.cpu()
    if looks is not None:
        looks.clear()
    await asyncio.sleep(seconds)
    spent, took = hub.cpu() - cpu, time.monotonic() - began
    seen = sorted(looks or ())
    requests = await asyncio.to_thread(asked.since_last)
    found = {
        "waiting": waiting,
        "cpu_of_a_core": spent / took,
        "requests_a_minute": requests.total() * 60 / took,
        "requests": dict(requests),
    }
    if looks is None:
        return found
    return {
        **found,
        "looks_a_second": len(seen) / took,
        "median_seconds_a_look": seen[len(seen) // 2],
        "longest_seconds_a_look": seen[-1],
    }


@contextlib.asynccontextmanager
async def _pages(web: httpx.AsyncClient, hub: Hub) -> AsyncIterator[list[float]]:
    """Keep everybody's waiting page open; what each of its looks took, in seconds, is added."""
    looks: list[float] = []
    rows = hub.rows("select username, id from arcetri_request where state = 'waiting'")

    async def page(user: str, request: str, first: float) -> None:
        await asyncio.sleep(first)
        while True:
            began = time.monotonic()
            url = f"/arcetri/requests/{UUID(request)}"
            answer = await web.get(url, headers=_headers(hub, user))
            took = time.monotonic() - began
            if answer.raise_for_status().json()["state"] != "queued":
                raise RuntimeError(f"{user} does not wait: {answer.text}")
            looks.append(took)
            await asyncio.sleep(max(0.0, LOOKS_EVERY - took))

    async with asyncio.TaskGroup() as group:
        pages = [
            group.create_task(page(user, request, LOOKS_EVERY * number / len(rows)))
            for number, (user, request) in enumerate(rows)
        ]
        yield looks
        for one in pages:
            one.cancel()


async def _ask_all(web: httpx.AsyncClient, hub: Hub, users: Sequence[str]) -> None:
    for begin in range(0, len(users), AT_ONCE):
        some = users[begin : begin + AT_ONCE]
        for answer in await asyncio.gather(*(_ask(web, hub, user) for user in some)):
            answer.raise_for_status()


# The crowd


@dataclass(slots=True)
class _Line:
    """Tickets, in the order in which the API server has written them down."""

    come: dict[str, tuple[int, str, datetime]] = field(default_factory=dict)
    """When each came, as a number, in which queue, and in which second."""
    admitted: dict[str, datetime] = field(default_factory=dict)
    """When Kueue gave each its quota, by its own clock: it writes what it decides side by side."""

    async def follow(self, kubeconfig: Path) -> None:
        """Note them for ever."""
        configuration = client.Configuration()
        await config.load_kube_config(str(kubeconfig), client_configuration=configuration)
        async with client.ApiClient(configuration) as api:
            async for event in AsyncKueue(api).workloads.watch(site.OURS):
                one = event.object
                created = one.metadata.creation_timestamp
                if created is not None and one.name not in self.come:
                    self.come[one.name] = (len(self.come), one.spec.queue_name, created)
                given = one.condition(ConditionType.QUOTA_RESERVED)
                if given is not None and given.holds and one.name not in self.admitted:
                    self.admitted[one.name] = given.last_transition_time

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Two of one queue, the one that asked earlier first.

        Kueue tells ages by the second: who came in the same one are no pair.
        """
        known = sorted(self.admitted.keys() & self.come.keys(), key=lambda name: self.come[name])
        for one, other in itertools.combinations(known, 2):
            (_, queue, first), (_, same, second) = self.come[one], self.come[other]
            if queue == same and first < second:
                yield one, other


async def _through(hub: Hub, kubeconfig: Path) -> dict[str, Any]:
    """Everybody at once, each session ended once it runs, until all have had theirs."""
    line = _Line()
    follower = asyncio.create_task(line.follow(kubeconfig))
    ((before,),) = hub.rows("select coalesce(max(place), 0) from arcetri_request")
    begin, cpu = time.monotonic(), hub.cpu()
    ends: dict[str, asyncio.Task[None]] = {}
    async with _client(hub) as web:
        asks = {user: asyncio.create_task(_ask(web, hub, user)) for user in hub.tokens}
        async with asyncio.timeout(PATIENCE):
            while True:
                rows = hub.rows(
                    "select username, state, reason from arcetri_request where place > ?", before
                )
                for user, state, _reason in rows:
                    if state == "running" and user not in ends:
                        ends[user] = asyncio.create_task(_end_once_ready(web, hub, user))
                if all(task.done() for task in asks.values()) and all(
                    state == "ended" for _, state, _ in rows
                ):
                    break
                await asyncio.sleep(LOOK)
        took, spent = time.monotonic() - begin, hub.cpu() - cpu
        outcomes = await asyncio.gather(*asks.values(), return_exceptions=True)
        ended = await asyncio.gather(*ends.values(), return_exceptions=True)
    follower.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await follower
    answers = Counter(
        type(one).__name__ if isinstance(one, BaseException) else str(one.status_code)
        for one in outcomes
    )
    failures = [f"{user}: {reason}" for user, _, reason in rows if user not in ends]
    failures += [str(one) for one in ended if isinstance(one, BaseException)]
    pairs = list(line.pairs())
    wrong = [pair for pair in pairs if line.admitted[pair[0]] > line.admitted[pair[1]]]
    return {
        "answers": dict(answers),
        "ran": len(ends) - sum(isinstance(one, BaseException) for one in ended),
        "failures": failures[:20],
        "reasons": dict(Counter(reason for _, _, reason in rows)),
        "tickets": len(line.come),
        "pairs": len(pairs),
        "pairs_out_of_order": len(wrong),
        "last_seconds": took,
        "hub_cpu_seconds_per_session": spent / len(hub.tokens),
    }


def _client(hub: Hub) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(
        base_url=f"{hub.url}/hub/api", limits=limits, timeout=PATIENCE, trust_env=False
    )


def _headers(hub: Hub, user: str) -> dict[str, str]:
    return {"Authorization": f"token {hub.tokens[user]}"}


async def _ask(web: httpx.AsyncClient, hub: Hub, user: str) -> httpx.Response:
    return await web.post(f"/users/{user}/server", json=hub.options, headers=_headers(hub, user))


async def _end(web: httpx.AsyncClient, hub: Hub, user: str) -> None:
    answer = await web.delete(f"/users/{user}/server", headers=_headers(hub, user))
    answer.raise_for_status()


async def _end_once_ready(web: httpx.AsyncClient, hub: Hub, user: str) -> None:
    """Stop a server once JupyterHub says that it is ready."""
    while True:
        answer = await web.get(f"/users/{user}", headers=_headers(hub, user))
        server = answer.raise_for_status().json()["servers"].get("")
        if server is None:
            raise RuntimeError(f"{user}: the server was gone before it was ready")
        if server["ready"]:
            break
        await asyncio.sleep(LOOK)
    await _end(web, hub, user)


def _standing(hub: Hub) -> Counter[str]:
    """How many requests are in each state, the ended ones left out."""
    found: Counter[str] = Counter()
    for (state,) in hub.rows("select state from arcetri_request where state != 'ended'"):
        found[state] += 1
    return found


async def _until(hub: Hub, wanted: dict[str, int]) -> None:
    deadline = time.monotonic() + PATIENCE
    while (found := _standing(hub)) != Counter(wanted):
        if time.monotonic() > deadline:
            raise RuntimeError(f"requests are {dict(found)}, and not {wanted}")
        await asyncio.sleep(LOOK)
