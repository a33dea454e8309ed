"""The clients: one whose operations block, and one whose operations are awaited."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from kueue_client import calls
from kueue_client.flavors import ResourceFlavor, Topology, WorkloadPriorityClass
from kueue_client.objects import AsyncObjects, Objects
from kueue_client.queues import ClusterQueue, Cohort, LocalQueue
from kueue_client.steps import Awaiting, Blocking, Steps, operation
from kueue_client.ticket import AsyncTicket, Ticket
from kueue_client.transport import ANSWER_SECONDS, AsyncTransport, Transport, keep_alive
from kueue_client.visibility import PendingWorkload
from kueue_client.why import Explanation, explain
from kueue_client.workloads import Workload

if TYPE_CHECKING:
    from kubernetes.aio.client import ApiClient as AsyncApiClient
    from kubernetes.client import ApiClient

MANAGER: Final = "kueue-client"
"""Who owns fields that were set, where nobody said another name."""


def _where(path: str | Path | None) -> str | None:
    """Where the kubeconfig is: the package itself reads the variable only when it is imported."""
    return str(path) if path is not None else os.environ.get("KUBECONFIG") or None


class _Kueue:
    @operation
    def pending(
        self, queue: str, namespace: str | None = None, *, most: int | None = None
    ) -> Steps[tuple[PendingWorkload, ...]]:
        """Who waits, in the order of the line.

        Args:
            queue: A LocalQueue where there is a namespace, else a ClusterQueue.
            namespace: The LocalQueue's.
            most: How many of the first ones, at least one; all of them by default.

        Raises:
            NotFound: There is no such queue.
            VisibilityDown: Kueue cannot be asked.
        """
        return (yield from calls.pending(queue, namespace, most))

    @operation
    def why(self, name: str, namespace: str) -> Steps[Explanation]:
        """Why a Workload is not admitted, in words.

        Raises:
            NotFound: There is no such Workload.
        """
        found = yield from calls.get(Workload, name, namespace)
        return (yield from explain(found))


class Kueue(Blocking, _Kueue):
    """Kueue on one cluster, for programs that block.

    It can be used by several threads. Close it, or use it with ``with``.
    """

    def __init__(
        self, client: ApiClient, *, manager: str = MANAGER, seconds: float = ANSWER_SECONDS
    ) -> None:
        """Ask over a client of the official package, which knows where the cluster is.

        Args:
            client: ``kubernetes.client.ApiClient``; closed with this.
            manager: Who owns the fields that are set.
            seconds: For one answer.
        """
        self._doer: Transport = Transport(client, seconds)
        self._manager = manager
        self.workloads = Objects(Workload, manager, self._doer)
        self.local_queues = Objects(LocalQueue, manager, self._doer)
        self.cluster_queues = Objects(ClusterQueue, manager, self._doer)
        self.cohorts = Objects(Cohort, manager, self._doer)
        self.resource_flavors = Objects(ResourceFlavor, manager, self._doer)
        self.topologies = Objects(Topology, manager, self._doer)
        self.priority_classes = Objects(WorkloadPriorityClass, manager, self._doer)

    @classmethod
    def from_kubeconfig(
        cls, path: str | Path | None = None, context: str | None = None, *, manager: str = MANAGER
    ) -> Self:
        """A client for a kubeconfig's cluster: $KUBECONFIG or ~/.kube/config without a path.

        Raises:
            kubernetes.config.ConfigException: There is none, or it cannot be used.
        """
        from kubernetes import client, config

        configuration = client.Configuration()
        found = _where(path)
        config.load_kube_config(found, context, client_configuration=configuration)
        keep_alive(configuration)
        return cls(client.ApiClient(configuration), manager=manager)

    @classmethod
    def in_cluster(cls, *, manager: str = MANAGER) -> Self:
        """A client for the cluster whose pod this runs in, with the pod's account.

        Raises:
            kubernetes.config.ConfigException: This runs in no pod, or one without an account.
        """
        from kubernetes import client, config

        configuration = client.Configuration()
        config.load_incluster_config(client_configuration=configuration)
        keep_alive(configuration)
        return cls(client.ApiClient(configuration), manager=manager)

    def ticket(self, name: str, namespace: str) -> Ticket:
        """A ticket by its name, whether there is one yet or not."""
        return Ticket(name, namespace, self._manager, self._doer)

    def close(self) -> None:
        """Close the connections."""
        self._doer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class AsyncKueue(Awaiting, _Kueue):
    """Kueue on one cluster, for programs that await.

    Close it, or use it with ``async with``.
    """

    def __init__(
        self, client: AsyncApiClient, *, manager: str = MANAGER, seconds: float = ANSWER_SECONDS
    ) -> None:
        """Ask over a client of the official package, which knows where the cluster is.

        Args:
            client: ``kubernetes.aio.client.ApiClient``; closed with this.
            manager: Who owns the fields that are set.
            seconds: For one answer.
        """
        self._doer: AsyncTransport = AsyncTransport(client, seconds)
        self._manager = manager
        self.workloads = AsyncObjects(Workload, manager, self._doer)
        self.local_queues = AsyncObjects(LocalQueue, manager, self._doer)
        self.cluster_queues = AsyncObjects(ClusterQueue, manager, self._doer)
        self.cohorts = AsyncObjects(Cohort, manager, self._doer)
        self.resource_flavors = AsyncObjects(ResourceFlavor, manager, self._doer)
        self.topologies = AsyncObjects(Topology, manager, self._doer)
        self.priority_classes = AsyncObjects(WorkloadPriorityClass, manager, self._doer)

    @classmethod
    async def from_kubeconfig(
        cls, path: str | Path | None = None, context: str | None = None, *, manager: str = MANAGER
    ) -> Self:
        """A client for a kubeconfig's cluster; as that of ``Kueue``."""
        from kubernetes.aio import client, config

        configuration = client.Configuration()
        found = _where(path)
        await config.load_kube_config(found, context, client_configuration=configuration)
        return cls(client.ApiClient(configuration), manager=manager)

    @classmethod
    def in_cluster(cls, *, manager: str = MANAGER) -> Self:
        """A client for the cluster whose pod this runs in; as that of ``Kueue``."""
        from kubernetes.aio import client, config

        configuration = client.Configuration()
        config.load_incluster_config(client_configuration=configuration)
        return cls(client.ApiClient(configuration), manager=manager)

    def ticket(self, name: str, namespace: str) -> AsyncTicket:
        """A ticket by its name, whether there is one yet or not."""
        return AsyncTicket(name, namespace, self._manager, self._doer)

    async def close(self) -> None:
        """Close the connections."""
        await self._doer.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()
