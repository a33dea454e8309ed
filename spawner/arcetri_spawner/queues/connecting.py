"""The connection to the API server for Kueue's objects: as a pod of the cluster, or KUBECONFIG."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from arcetri_spawner.backends.kubernetes.words import ClusterFault

if TYPE_CHECKING:
    from kubernetes.aio.client import ApiClient


async def connect() -> ApiClient:
    """Make the connection; inside a running loop.

    Raises:
        ClusterFault: Nothing says where the API server is.
    """
    from kubernetes.aio import client, config
    from kubernetes.aio.config import ConfigException

    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
    except ConfigException:
        try:
            # The package itself reads the variable only when it is imported.
            where = os.environ.get("KUBECONFIG") or None
            await config.load_kube_config(where, client_configuration=configuration)
        except (ConfigException, OSError) as error:
            raise ClusterFault(
                "Nothing says where the cluster's API server is.",
                code="cluster_unknown",
                remedy="Run this in a pod of the cluster, or set KUBECONFIG.",
            ) from error
    return client.ApiClient(configuration)
