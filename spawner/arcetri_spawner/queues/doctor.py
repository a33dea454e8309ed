"""What is wrong with the queues, and why each request waits: looked at from outside.

Nothing is changed; what asks for a place does so for trial only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from arcetri_spawner.backends.kubernetes.kueue.asking import TICKET, is_set_aside, whose
from arcetri_spawner.queues import configured
from arcetri_spawner.queues.changes import Act, owned
from arcetri_spawner.queues.findings import Finding
from arcetri_spawner.queues.names import Names
from arcetri_spawner.queues.shares import Promise
from arcetri_spawner.queues.sync import Outlook, Queues
from arcetri_spawner.queues.unheld import Unheld, unheld
from arcetri_spawner.queues.unstarted import Unstarted, unstarted
from kueue_client import (
    Asked,
    AsyncKueue,
    Cause,
    ClusterQueue,
    KueueError,
    LocalQueue,
    NotFound,
    PendingWorkload,
    TicketStatus,
    Workload,
    explanation,
)

if TYPE_CHECKING:
    from kubernetes.aio.client import ApiClient

    from arcetri_spawner.catalog.models import Catalog

ORDINARY: Final = frozenset(
    {
        Cause.ADMITTED,
        Cause.FINISHED,
        Cause.QUOTA,
        Cause.PLACEMENT,
        Cause.PREEMPTION,
        Cause.CHECKS,
        Cause.OTHERS_START,
        Cause.NOT_CONSIDERED,
        Cause.BACKOFF,
        Cause.ASIDE,
        Cause.RELEASE,
    }
)
"""What a request may wait for without anything being wrong."""

_SYNC: Final = "Run `arcetri queues sync`; with --dry-run it only says what it would do."
_ALLOWED: Final = "That is allowed: --overcommit."
_MORE: Final = (
    " Or have them come back; where more are to come, say --overcommit, here and to sync."
)
_REMEDIES: Final[Mapping[Cause, str]] = {
    Cause.KUEUE_SILENT: "See whether Kueue's manager runs (Deployment kueue-controller-manager).",
    Cause.LOCAL_QUEUE_MISSING: _SYNC,
    Cause.CLUSTER_QUEUE_MISSING: _SYNC,
    Cause.CLUSTER_QUEUE_INACTIVE: _SYNC,
    Cause.NO_FLAVOR: "Give the flavour back to the group in profiles.yaml, or end the request.",
    Cause.TOO_LARGE: "Raise the group's quota in profiles.yaml, or end the request.",
    Cause.LOCAL_QUEUE_STOPPED: "Set spec.stopPolicy of the LocalQueue to None when it may go on.",
    Cause.CLUSTER_QUEUE_STOPPED: "Set spec.stopPolicy of the ClusterQueue to None when it may.",
    Cause.DEACTIVATED: "Set spec.active of the Workload to true to put it in line again.",
    Cause.RELEASE: "End the session: nothing else gives back what it holds.",
}


class Doctor:
    """Looks at one installation's queues."""

    def __init__(
        self,
        client: ApiClient,
        names: Names,
        *,
        kueue: str = "kueue-system",
        start: timedelta = timedelta(seconds=180),
    ) -> None:
        """Look over a client of the official package, which is closed by its owner.

        Args:
            client: The client.
            names: What the installation's objects are called.
            kueue: The namespace where Kueue is.
            start: How long the hub lets a start take.
        """
        self._where = kueue
        self._start = start
        self._queues = Queues(client, names)
        self._kueue = AsyncKueue(client)
        self._names = names

    async def examine(
        self, catalog: Catalog | None, request: str = "", *, overcommit: bool = False
    ) -> list[Finding]:
        """Say how everything is.

        Args:
            catalog: What the queues should be made from; None where it cannot be used.
            request: A request's id, or its Workload's name: then only what is wrong, and this.
            overcommit: Whether more may be promised than the farm has.
        """
        try:
            found = await self._answers()
            if catalog is not None:
                found += self._drift(await self._queues.look(catalog, overcommit=overcommit))
                found += await self._configured(catalog)
            found += await self._everything(catalog, request)
        except KueueError as error:
            return [_error("kueue", error)]
        return [one for one in found if one.wrong or not request or one.about in _names(request)]

    async def _answers(self) -> list[Finding]:
        """Whether Kueue does what it is there for."""
        trial = Asked("trial", {"cpu": "1"}).workload(f"trial-{uuid4()}", self._names.namespace)
        try:
            await self._kueue.workloads.create(trial, dry_run=True)
        except KueueError as error:
            return [_error("kueue", error)]
        return [Finding("kueue", "answers", False, "It takes requests.")]

    async def _configured(self, catalog: Catalog) -> list[Finding]:
        """Whether Kueue is set up as sessions need it; who may not read that is told so."""
        try:
            text = await self._queues.config_map(self._where, configured.CONFIG_MAP, configured.KEY)
            said = configured.Configured.of(text, self._where)
        except KueueError as error:
            return [configured.unread(error.message, self._where)]
        except ValueError as error:
            return [configured.unread(f"{error}.", self._where)]
        try:
            labels = await self._queues.labels()
        except KueueError:
            labels = None
        needs = configured.Needs.of(catalog, self._start, self._names.namespace, labels)
        return list(said.findings(needs))

    def _drift(self, outlook: Outlook) -> list[Finding]:
        found = [
            Finding(
                _flavors(one.promise),
                "overcommitted",
                True,
                one.sentence,
                one.promise.remedy + _MORE,
            )
            for one in outlook.withheld
        ]
        allowed = [
            Finding(_flavors(one), "overcommitted_allowed", False, f"{one.sentence} {_ALLOWED}")
            for one in outlook.plan.overcommitted
            if not outlook.withheld
        ]
        found += [
            Finding("catalog", "confused", True, one, "Correct the catalog.")
            for one in outlook.plan.confused
        ]
        found += [
            Finding(one, "not_ours", True, "It is somebody else's, and has a name of ours.", "")
            for one in outlook.strangers
        ]
        for flavor, capacity in outlook.farm.capacity.items():
            if not capacity:
                sentence = "No node has it now."
                remedy = "See whether its nodes are there, and have the catalog's labels."
                found.append(Finding(f"flavour {flavor}", "no_nodes", True, sentence, remedy))
        for change in outlook.changes:
            what = f"{type(change.object).__name__} {change.object.name}"
            words = {
                Act.CREATE: "It is missing.",
                Act.CHANGE: f"It is not as the catalog says: {'; '.join(change.lines)}.",
                Act.DRAIN: "The catalog has it no longer, and it still admits.",
                Act.REMOVE: "The catalog has it no longer.",
            }
            if what not in outlook.strangers and (sentence := words.get(change.act, "")):
                found.append(Finding(what, f"drift_{change.act.value}", True, sentence, _SYNC))
        if not found:
            found.append(Finding("catalog", "in_sync", False, "The queues are as it says."))
        return allowed + found

    async def _everything(self, catalog: Catalog | None, request: str) -> list[Finding]:
        """How queues are, and the requests in them."""
        where = self._names.namespace
        pools = {one.name: one for one in (await self._kueue.cluster_queues.list()).items}
        ours = {name for name, one in pools.items() if owned(one, self._names)}
        queues = {
            _place(one): one
            for one in (await self._kueue.local_queues.list()).items
            if one.namespace == where or one.spec.cluster_queue in ours
        }
        # Those of a queue that is missing are in line for nothing, and are to be told of, too.
        workloads = [
            one
            for one in (await self._kueue.workloads.list()).items
            if _stands(one) in queues or (one.namespace == where and whose(one) is not None)
        ]
        found = [one for pool in pools.values() for one in _pool(pool, self._names)]
        found += [one for queue in queues.values() for one in _queue(queue)]
        line: dict[tuple[str, str], PendingWorkload] = {}
        waits = {_stands(one) for one in workloads if one.status.admission is None}
        for space, name in sorted(waits & queues.keys()):
            try:
                found_there = await self._kueue.pending(name, space)
                line |= {(space, one.metadata.name): one for one in found_there}
            except NotFound:
                continue  # Kueue has not taken the queue yet
            except KueueError as error:
                found.append(_error("kueue", error))
                break
        grace = catalog.defaults.grace if catalog else timedelta(minutes=5)
        pods = await self._queues.pods()
        runs = {one.request: one for one in unheld(pods, workloads)}
        late = {one.request: one for one in unstarted(pods, workloads, datetime.now(UTC))}
        for one in workloads:
            queue = queues.get(_stands(one))
            pool = pools.get(queue.spec.cluster_queue) if queue else None
            about, who = _called(one, request), whose(one)
            odd = (runs.pop(who.request, None) or late.get(who.request)) if who else None
            if odd is not None:
                found.append(_odd(odd, about))
            else:
                found.append(_request(about, one, queue, pool, line.get(_place(one)), grace))
        found += [_odd(one, _about(str(one.request))) for one in runs.values()]
        if request and not any(one.about in _names(request) for one in found):
            sentence = f"No request of this name stands in a queue of {where}."
            remedy = (
                "It has ended, or was never put in line: its user can ask again. Or the hub could"
                " not tell Kueue of it: its page says why."
            )
            found.append(Finding(_about(request), "not_there", True, sentence, remedy))
        return found


def _flavors(promise: Promise) -> str:
    return f"flavour{'s' * (len(promise.flavors) > 1)} {', '.join(promise.flavors)}"


def _about(request: str) -> str:
    return f"request {request.removeprefix(TICKET)}"


def _names(request: str) -> set[str]:
    """What somebody may mean who asks for a request, a job or a Workload."""
    return {_about(request), f"Workload {request}", f"Job {request}"}


def _place(one: Workload | LocalQueue) -> tuple[str, str]:
    return one.namespace, one.name


def _stands(one: Workload) -> tuple[str, str]:
    """The queue that a Workload stands in."""
    return one.namespace, one.spec.queue_name


def _odd(one: Unheld | Unstarted, about: str) -> Finding:
    return Finding(about, one.code, True, one.sentence, one.remedy)


def _called(one: Workload, request: str) -> str:
    """What a Workload's request is called: as it was asked for, else by the request's own id.

    What is nobody's request is called by what it is of, such as its job.
    """
    who = whose(one)
    if who is None:
        owners = one.metadata.owner_references
        named = f"{owners[0].get('kind')} {owners[0].get('name')}" if owners else ""
        return f"Workload {one.name}" if request == one.name or not named else named
    if request and _about(request) == _about(one.name):
        return _about(one.name)
    return _about(str(who.request))


def _error(about: str, error: KueueError) -> Finding:
    return Finding(about, error.code, True, error.message, error.remedy)


def _pool(one: ClusterQueue, names: Names) -> Iterator[Finding]:
    if not owned(one, names):
        return
    about = f"ClusterQueue {one.name}"
    if one.spec.stop_policy not in (None, "None"):
        yield Finding(
            about,
            Cause.CLUSTER_QUEUE_STOPPED.value,
            True,
            "It is stopped: it admits nothing.",
            _REMEDIES[Cause.CLUSTER_QUEUE_STOPPED],
        )
    elif one.active is not None and not one.active.holds:
        sentence = f"It admits nothing: {one.active.message.strip().rstrip('.')}."
        yield Finding(about, Cause.CLUSTER_QUEUE_INACTIVE.value, True, sentence, _SYNC)


def _queue(one: LocalQueue) -> Iterator[Finding]:
    if one.spec.stop_policy not in (None, "None"):
        yield Finding(
            f"LocalQueue {one.name}",
            Cause.LOCAL_QUEUE_STOPPED.value,
            True,
            "It is stopped: it admits nothing.",
            _REMEDIES[Cause.LOCAL_QUEUE_STOPPED],
        )


def _request(
    about: str,
    one: Workload,
    queue: LocalQueue | None,
    pool: ClusterQueue | None,
    position: PendingWorkload | None,
    grace: timedelta,
) -> Finding:
    if is_set_aside(one):
        sentence = "It waits until the maintenance of its flavour is over."
        return Finding(about, "maintenance", False, sentence)
    why = explanation(one, queue, pool, position, missing=queue is None)
    wrong = why.cause not in ORDINARY
    if why.cause is Cause.RELEASE:
        evicted = TicketStatus.of(one).evicted
        wrong = evicted is not None and datetime.now(UTC) - evicted.since > 2 * grace
    remedy = _REMEDIES.get(why.cause, "") if wrong else ""
    return Finding(about, why.cause.value, wrong, str(why), remedy)
