"""The queue without Kueue: its leases and places agree, whoever asks at once, and after a restart.

The store is a real one; of the backend there is what gives places, over nodes without a cluster.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from arcetri_spawner.backends.base import Ticket, TicketState
from arcetri_spawner.backends.kubernetes.backend import KubernetesBackend
from arcetri_spawner.backends.kubernetes.claims import Claims
from arcetri_spawner.backends.kubernetes.inventory import Stock
from arcetri_spawner.backends.kubernetes.offering import Offering
from arcetri_spawner.backends.kubernetes.queue import SlotQueue
from arcetri_spawner.catalog import CatalogHolder
from arcetri_spawner.errors import StoreError
from arcetri_spawner.policy.model import Grant, Inventory
from arcetri_spawner.store import Store
from tests.spawner.kubernetes.cluster import T4, container, node, pod
from tests.spawner.kubernetes.test_claims import mark
from tests.spawner.local.world import catalog_text
from tests.support.builders import NOW, grant

GPU = "nvidia.com/gpu"
NODES = {"one": (16, 4), "two": (16, 2)}
"""Cores and GPUs; 4 and 6 CPU-only sessions of two cores leave what the GPUs need."""


class Hub:
    """A hub's queue, over nodes that are told to it; no pods but those that a test puts."""

    def __init__(self, folder: Path) -> None:
        self.store = Store.open(f"sqlite:///{folder / 'arcetri.sqlite'}")
        profiles = folder / "profiles.yaml"
        profiles.write_text(catalog_text(), encoding="utf-8")
        self.catalogs = CatalogHolder(profiles)
        offering = Offering.of(self.catalogs.current.catalog)
        self.stock = Stock(offering, instance="arcetri", namespace="sessions")
        self.placed: set[Any] = set()
        self.fresh = True
        self.claims = Claims(
            self.stock,
            lambda: offering,
            fresh=lambda: self.fresh,
            has_pod=self.placed.__contains__,
            is_placed=self.placed.__contains__,
            changed=lambda: None,
        )
        self.queue = SlotQueue(cast("KubernetesBackend", self), self.store, self.catalogs)

    def nodes(self) -> None:
        """Hear of the nodes."""
        for name, (cores, gpus) in NODES.items():
            self.stock.put_node(node(name, labels=T4, cpu=str(cores), **{GPU: str(gpus)}))

    def current_inventory(self) -> Inventory:
        return self.stock.inventory(NOW)

    async def inventory(self) -> AsyncIterator[Inventory]:
        yield self.current_inventory()
        await asyncio.Event().wait()

    async def ask(self, number: int, flavor: str) -> tuple[Grant, Ticket]:
        name = f"user{number}"
        account = await self.store.account_for("https://iam.example/", name, name)
        made = grant(
            account_id=account.id,
            username=name,
            flavor=flavor,
            flavor_type="cpu" if flavor == "cpu" else "gpu",
            group="/lab/cms",
        )
        await self.store.open_request(made)
        return made, await self.queue.submit(made)

    async def where(self) -> Counter[tuple[str, str]]:
        """How many places there are, by node and flavour, as the store has them."""
        rows = {row.id: row.grant.flavor for row in await self.store.live_requests()}
        leases = await self.store.leases()
        return Counter((slot.partition("@")[2], rows[one]) for slot, one in leases.items())


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    made = Hub(tmp_path)
    made.nodes()
    return made


async def test_many_at_once_take_what_gpus_do_not_need_and_no_more(hub: Hub) -> None:
    found = await asyncio.gather(*(hub.ask(number, "cpu") for number in range(20)))
    states = Counter(ticket.state for _, ticket in found)
    assert states == {TicketState.ADMITTED: 10, TicketState.WAITING: 10}
    assert await hub.where() == {("one.farm", "cpu"): 4, ("two.farm", "cpu"): 6}
    gpus = await asyncio.gather(*(hub.ask(number, "t4") for number in range(20, 26)))
    assert {ticket.state for _, ticket in gpus} == {TicketState.ADMITTED}
    assert (await hub.ask(26, "t4"))[1].state is TicketState.WAITING
    # Whoever leaves makes room for one, wherever it is.
    leaves = next(one for one, ticket in found if ticket.state is TicketState.ADMITTED)
    await hub.queue.finish(Ticket(leaves.request_id, TicketState.ADMITTED))
    assert sum((await hub.where()).values()) == 16


async def test_a_restarted_hub_counts_what_was_admitted_before_anything_else(
    hub: Hub, tmp_path: Path
) -> None:
    found = [await hub.ask(number, "cpu") for number in range(10)]
    where = await hub.where()
    again = Hub(tmp_path)
    again.nodes()
    # One whose pod is there by now counts by that.
    first = found[0][0].request_id
    node_of = {one: slot for slot, one in (await hub.store.leases()).items()}[first]
    made = pod("u", node_of.partition("@")[2].removesuffix(".farm"), container(cpu="2"))
    again.stock.put_pod(mark(made, first, "cpu"))
    again.placed.add(first)
    _, ticket = await again.ask(10, "cpu")
    assert ticket.state is TicketState.WAITING
    for one, _ in found:
        assert (await again.queue.submit(one)).state is TicketState.ADMITTED
    assert await again.where() == where
    for one, _ in found[1:]:
        assert again.claims.node(one.request_id) is not None
    assert not again.stock.is_held(first)


async def test_a_place_of_an_earlier_version_is_chosen_at_the_start(
    hub: Hub, tmp_path: Path
) -> None:
    one, _ = await hub.ask(0, "cpu")
    with closing(sqlite3.connect(tmp_path / "arcetri.sqlite")) as db, db:
        db.execute("update arcetri_lease set device_uuid = 'cpu#0'")
    again = Hub(tmp_path)
    again.nodes()
    assert (await again.queue.submit(one)).state is TicketState.ADMITTED
    assert again.claims.node(one.request_id) is None
    await again.queue.finish(Ticket(one.request_id, TicketState.ADMITTED))
    assert await again.store.leases() == {}


async def test_a_place_that_could_not_be_written_is_given_back(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise StoreError("The database does not answer.", code="store_away", remedy="Wait.")

    before = hub.current_inventory()
    with monkeypatch.context() as patch:
        patch.setattr(hub.store, "lease", away)
        with pytest.raises(StoreError):
            await hub.ask(0, "t4")
    assert hub.current_inventory() == before
    _, ticket = await hub.ask(1, "t4")
    assert ticket.state is TicketState.ADMITTED


async def test_while_nobody_can_say_what_is_free_everybody_waits(hub: Hub) -> None:
    hub.fresh = False
    one, ticket = await hub.ask(0, "t4")
    assert ticket.state is TicketState.WAITING
    hub.fresh = True
    await hub.queue.advance()
    assert (await hub.queue.submit(one)).state is TicketState.ADMITTED
