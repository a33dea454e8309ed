"""What the cluster is and runs, in memory, kept by watching it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Final
from uuid import UUID

import structlog

from arcetri_spawner.backends.kubernetes.api import Api, Object
from arcetri_spawner.backends.kubernetes.inventory import Stock
from arcetri_spawner.backends.kubernetes.marks import read_marks
from arcetri_spawner.backends.kubernetes.mirror import Mirror
from arcetri_spawner.backends.kubernetes.tale import tale

log = structlog.get_logger(__name__)

PODS: Final = "/api/v1/pods"
NODES: Final = "/api/v1/nodes"
KEPT_EVENTS: Final = 100
"""What is told of one pod beyond this is repetition."""
KEPT_LAST: Final = 1000
"""Pods that are gone of which it is still known how they were last."""
TALES_SECONDS: Final = 60
"""For which a watch of events lasts, so that they cost few requests; that they are news is nowhere
asked."""
TALES_PATIENCE: Final = 2.0
"""Seconds for which the first list of events is waited for: they explain, and decide nothing."""
KEPT_TALES: Final = 5000
"""Pods of which something is kept; what is told of one may come before the pod itself does."""


class Cluster:
    """The mirrors, and what is found in them.

    Args:
        api: The API server.
        namespace: Where sessions run.
        instance: Which platform's sessions are ours.
        stock: Sums what nodes have and pods take.
        changed: Told when what is free may be another.
    """

    def __init__(
        self,
        api: Api,
        *,
        namespace: str,
        instance: str,
        stock: Stock,
        changed: Callable[[], None],
    ) -> None:
        self._instance = instance
        self._stock = stock
        self._changed = changed
        self._pods = Mirror(api, PODS, self._pod)
        self._nodes = Mirror(api, NODES, self._node)
        self._events = Mirror(
            api, f"/api/v1/namespaces/{namespace}/events", self._event, seconds=TALES_SECONDS
        )
        self._namespace = namespace
        self._by_session: dict[UUID, Object] = {}
        self._by_node: dict[str, Object] = {}
        self._last: dict[str, tuple[Object, list[Object]]] = {}
        """By the uid of a pod that is gone: how it was last, and what was told of it."""
        self._session_of: dict[str, UUID] = {}
        """By the uid of its pod."""
        self._told: dict[str, dict[str, Object]] = {}
        """Events by the uid of their pod, then by their own."""
        self._moved: dict[UUID, asyncio.Event] = {}

    @property
    def fresh(self) -> bool:
        """Whether nodes and pods are what the API server said within the last seconds."""
        return self._pods.fresh and self._nodes.fresh

    def watches(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """The work in the background, for ever."""
        return self._pods.run(), self._nodes.run(), self._events.run()

    async def listed(self) -> None:
        """Return once nodes and pods were listed for the first time."""
        await self._pods.listed()
        await self._nodes.listed()

    def pod(self, session: UUID) -> Object | None:
        """The pod of a session of ours; None when there is none, as far as is known."""
        return self._by_session.get(session)

    def node_of(self, pod: Object) -> Object | None:
        """The node that a pod is on; None where there is none, as far as is known."""
        return self._by_node.get(pod["spec"].get("nodeName") or "")

    def last(self, pod: Object) -> Object:
        """How a pod is now, or was last when it is gone: its end is often told only then."""
        uid = pod["metadata"]["uid"]
        session = self._session_of.get(uid)
        there = self._by_session.get(session) if session else None
        return there or self._last.get(uid, (pod,))[0]

    def sessions(self) -> list[UUID]:
        """Every session of ours that has a pod."""
        return list(self._by_session)

    def told(self, pod: Object) -> list[Object]:
        """What is told of a pod, oldest first, also of one that has just gone."""
        uid = pod["metadata"]["uid"]
        before = self._last[uid][1] if uid in self._last else ()
        return sorted((*before, *self._told.get(uid, {}).values()), key=_when)

    async def remembered(self, name: str) -> str:
        """What is told of a pod that this hub has never seen: events outlive their pods."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TALES_PATIENCE):
                await self._events.listed()
        for events in self._told.values():
            about = next(iter(events.values()))["involvedObject"]
            if about.get("name") == name:
                return tale({"metadata": about}, events.values())
        return ""

    def moved(self, session: UUID) -> asyncio.Event:
        """Set at the next change of a session's pod, or of what is told of it."""
        return self._moved.setdefault(session, asyncio.Event())

    def _pod(self, before: Object | None, after: Object | None) -> None:
        pod = after or before
        assert pod is not None  # noqa: S101 - one of the two is there
        counts = self._stock.put_pod(pod) if after else self._stock.drop_pod(pod["metadata"]["uid"])
        marks = read_marks(pod)
        ours = pod["metadata"].get("namespace") == self._namespace
        if ours and marks is not None and marks.instance == self._instance:
            uid = pod["metadata"]["uid"]
            known = self._by_session.get(marks.session)
            if after:
                self._by_session[marks.session] = after
                self._session_of[uid] = marks.session
            else:
                self._session_of.pop(uid, None)
                told = self._told.pop(uid, {})
                if known is not None and known["metadata"]["uid"] == uid:
                    del self._by_session[marks.session]
                self._last[uid] = pod, list(told.values())
                while len(self._last) > KEPT_LAST:
                    del self._last[next(iter(self._last))]
            self._tell(marks.session)
        if counts:
            self._changed()

    def _node(self, before: Object | None, after: Object | None) -> None:
        node = after or before
        assert node is not None  # noqa: S101 - one of the two is there
        name = node["metadata"]["name"]
        if after:
            self._by_node[name] = after
        else:
            self._by_node.pop(name, None)
        if self._stock.put_node(node) if after else self._stock.drop_node(name):
            self._changed()

    def _event(self, _before: Object | None, after: Object | None) -> None:
        # Events expire: what they told stays true of a pod for as long as it is there.
        about = (after or {}).get("involvedObject", {})
        if after is None or about.get("kind") != "Pod" or "uid" not in about:
            return
        told = self._told.setdefault(about["uid"], {})
        told[after["metadata"]["uid"]] = after
        while len(told) > KEPT_EVENTS:
            del told[next(iter(told))]
        while len(self._told) > KEPT_TALES:
            del self._told[next(iter(self._told))]
        session = self._session_of.get(about["uid"])
        if session is not None:
            self._tell(session)

    def _tell(self, session: UUID) -> None:
        moved = self._moved.pop(session, None)
        if moved is not None:
            moved.set()


def _when(event: Object) -> str:
    """When an event came last; RFC 3339 in UTC sorts as text."""
    return str(
        event.get("lastTimestamp")
        or event.get("eventTime")
        or event["metadata"].get("creationTimestamp")
        or ""
    )
