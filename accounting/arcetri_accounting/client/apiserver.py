"""Where a cluster's API server is, and who asks it: as the pod one runs in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MOUNTED: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet puts a pod's token, and what the API server's certificate is signed by."""
MAX_TOKEN_BYTES: Final = 65_536
"""More than any token has."""


class NotInCluster(Exception):
    """Nothing says where the API server is; the message is a sentence for the operator."""


@dataclass(frozen=True, slots=True)
class ApiServer:
    """An API server, and by what one is known to it."""

    url: str
    """``https://HOST:PORT``, without a path."""
    token_file: Path
    """Read anew at each use, since the kubelet replaces it."""
    ca_file: Path
    """The authorities that its certificate is checked against."""

    @classmethod
    def of_pod(
        cls, environment: Mapping[str, str] = os.environ, mounted: Path = MOUNTED
    ) -> ApiServer:
        """The API server of the cluster that this process runs in as a pod.

        Raises:
            NotInCluster: It runs in none, or its pod has no service account.
        """
        host = environment.get("KUBERNETES_SERVICE_HOST", "")
        port = environment.get("KUBERNETES_SERVICE_PORT", "443")
        if not host:
            raise NotInCluster(
                "Nothing says where the cluster's API server is: KUBERNETES_SERVICE_HOST is not"
                " set. Run this in a pod of the cluster."
            )
        server = cls(
            f"https://{f'[{host}]' if ':' in host else host}:{port}",
            mounted / "token",
            mounted / "ca.crt",
        )
        for file in (server.token_file, server.ca_file):
            if not file.is_file():
                raise NotInCluster(
                    f"{file} is not there. Let the pod mount its service account's token"
                    " (automountServiceAccountToken)."
                )
        return server

    def token(self) -> str:
        """The token of the moment.

        Raises:
            OSError: It cannot be read.
        """
        with self.token_file.open("rb") as file:
            return file.read(MAX_TOKEN_BYTES).decode().strip()
