"""The connection to the API server: as the pod one runs in, else as ``KUBECONFIG`` says."""

from __future__ import annotations

from kubernetes_asyncio import config
from kubernetes_asyncio.client import ApiClient, Configuration
from kubernetes_asyncio.config import ConfigException

from arcetri_spawner.backends.kubernetes.api import Api
from arcetri_spawner.errors import BackendError


async def connect() -> Api:
    """Make the connection; inside a running loop.

    Raises:
        BackendError: Nothing says where the API server is.
    """
    configuration = Configuration()
    try:
        config.load_incluster_config(  # type: ignore[no-untyped-call]  # the client has no types
            client_configuration=configuration
        )
    except ConfigException:
        try:
            await config.load_kube_config(client_configuration=configuration)
        except (ConfigException, OSError) as error:
            raise BackendError(
                "Nothing says where the cluster's API server is.",
                code="cluster_unknown",
                remedy="The operator runs the hub in a pod of the cluster, or sets KUBECONFIG.",
            ) from error
    return Api(ApiClient(configuration))
