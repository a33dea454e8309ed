"""Making the queues what they should be: look, decide, and only then write.

Nothing is written while anything of the catalog cannot be done, and nothing where nothing has
changed. Only what would promise more than there is stays undone alone: a farm that shrinks must not
keep its queues from being looked after. What is interrupted is finished the next time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from arcetri_spawner.backends.kubernetes.offering import Offering
from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.errors import ArcetriError
from arcetri_spawner.queues.changes import (
    WHOLE,
    Act,
    Change,
    changes,
    differences,
    owned,
    strangers,
)
from arcetri_spawner.queues.farm import Farm
from arcetri_spawner.queues.names import DIGEST, MANAGER, Names
from arcetri_spawner.queues.plan import Plan, plan
from arcetri_spawner.queues.restraint import Restraint, Withheld, restrained
from kueue_client import AsyncKueue
from kueue_client.base import Object
from kueue_client.calls import ask
from kueue_client.enums import StopPolicy
from kueue_client.objects import AsyncObjects
from kueue_client.steps import Request, arun
from kueue_client.transport import AsyncTransport

if TYPE_CHECKING:
    from kubernetes.aio.client import ApiClient


class QueuesRefused(ArcetriError):
    """The catalog cannot be made into queues; nothing was changed.

    Attributes:
        reasons: All that stands against it, a sentence each.
    """

    default_code = "queues_refused"
    codes = ("queues_confused", "queues_not_ours")

    def __init__(self, message: str, *, code: str, reasons: Sequence[str], remedy: str) -> None:
        super().__init__(message, code=code, remedy=remedy)
        self.reasons = tuple(reasons)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a sync would do.

    Attributes:
        plan: What there should be.
        farm: What the nodes have.
        changes: What to do, in order.
        strangers: Objects of others that have our names.
        withheld: What is promised beyond what there is, and not given.
    """

    plan: Plan
    farm: Farm
    changes: tuple[Change, ...]
    strangers: tuple[str, ...] = field(default=())
    withheld: tuple[Withheld, ...] = field(default=())

    def check(self) -> None:
        """See that it may be done.

        Raises:
            QueuesRefused: It may not.
        """
        if self.plan.confused:
            raise QueuesRefused(
                "Kueue cannot tell some flavours apart.",
                code="queues_confused",
                reasons=self.plan.confused,
                remedy="Correct the catalog.",
            )
        if self.strangers:
            raise QueuesRefused(
                "There are objects of others that have the names of ours; they are left alone.",
                code="queues_not_ours",
                reasons=self.strangers,
                remedy="Remove or rename them, or give this installation another name.",
            )


class Queues:
    """The queues of one installation on one cluster."""

    def __init__(self, client: ApiClient, names: Names) -> None:
        """Look after them over a client of the official package, which is closed by its owner."""
        self._transport = AsyncTransport(client)
        self._kueue = AsyncKueue(client, manager=MANAGER)
        self._names = names

    async def look(self, catalog: Catalog, *, overcommit: bool = False) -> Outlook:
        """Say what a sync would do; writes nothing.

        Args:
            catalog: What the queues are made from.
            overcommit: Whether more may be promised than the farm has.

        Raises:
            KueueError: The cluster cannot be read.
        """
        offering = Offering.of(catalog)
        farm = Farm.of(await self._nodes(), offering)
        made = plan(catalog, offering, farm, self._names)
        there: list[Object] = []
        for one in self._collections():
            where = self._names.namespace if one.kind.namespaced else None
            there += (await one.list(where)).items
        ours = [one for one in there if owned(one, self._names)]
        others = strangers(made.objects, there, self._names)
        will = Restraint(made.objects) if overcommit else restrained(made, ours, self._names)
        todo = tuple(changes(will.objects, ours))
        return Outlook(made, farm, todo, tuple(others), will.withheld)

    async def carry_out(self, outlook: Outlook) -> None:
        """Do what was decided.

        Raises:
            KueueError: Something could not be done; what was done before stays.
        """
        by_kind: dict[type[Object], AsyncObjects[Any]] = {
            one.kind: one for one in self._collections()
        }
        for change in outlook.changes:
            objects, one = by_kind[type(change.object)], change.object
            where = one.namespace or None
            match change.act:
                case Act.CREATE:
                    await objects.apply(one, force=True)
                case Act.CHANGE:
                    made = await objects.apply(one, force=True)
                    if differences(one, made):
                        # What somebody else has added is theirs, and an apply leaves it.
                        await objects.patch(one.name, where, change=_ours(one))
                case Act.DRAIN:
                    await objects.patch(one.name, where, change=_DRAIN)
                case Act.REMOVE:
                    await objects.delete(one.name, where, uid=one.metadata.uid)

    def _collections(self) -> tuple[AsyncObjects[Any], ...]:
        kueue = self._kueue
        return (
            kueue.topologies,
            kueue.resource_flavors,
            kueue.priority_classes,
            kueue.cohorts,
            kueue.cluster_queues,
            kueue.local_queues,
        )

    async def pods(self) -> list[dict[str, Any]]:
        """The pods of the namespace of sessions.

        Raises:
            KueueError: They cannot be read.
        """
        return await self._listed(f"/api/v1/namespaces/{self._names.namespace}/pods")

    async def labels(self) -> dict[str, str]:
        """The labels of the namespace of sessions.

        Raises:
            KueueError: They cannot be read.
        """
        found = await self._read(f"/api/v1/namespaces/{self._names.namespace}")
        return dict((found.get("metadata") or {}).get("labels") or {})

    async def config_map(self, namespace: str, name: str, key: str) -> str:
        """What a ConfigMap has below a key; nothing where it lacks the key.

        Raises:
            KueueError: It cannot be read.
        """
        found = await self._read(f"/api/v1/namespaces/{namespace}/configmaps/{name}")
        return str((found.get("data") or {}).get(key) or "")

    async def _read(self, path: str) -> dict[str, Any]:
        return await arun(ask(Request("GET", path)), self._transport)

    async def _nodes(self) -> list[dict[str, Any]]:
        return await self._listed("/api/v1/nodes")

    async def _listed(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        more = ""
        while True:
            query = (("limit", "500"), *((("continue", more),) if more else ()))
            page = await arun(ask(Request("GET", path, query)), self._transport)
            found += page.get("items") or []
            more = str((page.get("metadata") or {}).get("continue") or "")
            if not more:
                return found


def _ours(one: Object) -> dict[str, Any]:
    """The fields that are ours as a whole."""
    spec = one.to_wire().get("spec", {})
    return {"spec": {name: value for name, value in spec.items() if name in WHOLE}}


_DRAIN = {
    "spec": {"stopPolicy": StopPolicy.HOLD.value},
    # By which it is known who has stopped it, and that it is to be made anew if it is wanted again.
    "metadata": {"annotations": {DIGEST: None}},
}
