"""What the chart installs beside a hub: the provisioner, and the ledger with an agent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from arcetri_hub.settings import ProvisionerSettings, UsageSettings
from benchmarks.cluster import site
from tests.cluster import accounting, addresses, hub, storage
from tests.cluster.cluster import Cluster


@dataclass(frozen=True, slots=True)
class Beside:
    """How a hub reaches what stands beside it; nothing where it has neither."""

    provisioner: ProvisionerSettings | None = None
    usage: UsageSettings | None = None


@contextlib.contextmanager
def beside(cluster: Cluster, folder: Path, namespace: str) -> Iterator[Beside]:
    """Run them for the sessions of a namespace, over the claim for its homes.

    Args:
        cluster: Where.
        folder: For what they keep.
        namespace: Where sessions run; ``site.namespace`` has made it.

    Raises:
        RuntimeError: The ledger was told of no session, so what was measured is something else.
    """
    folder.mkdir()
    claims = {"shared": site.homes(cluster, namespace)}
    provisioner = storage.provide(cluster, folder, claims)
    ledger = accounting.begin(cluster, folder, namespace)
    try:
        tokens = accounting.stand_in(cluster, hub.ACCOUNT, hub.HOME)
        secret = folder / "service"
        secret.write_text(hub.SECRET, encoding="ascii")
        usage = UsageSettings(
            url=f"http://{addresses.NODE}:{ledger.port}",
            service_token_file=secret,
            witness_token_file=tokens / "ledger" / "token",
            spool=folder / "witness.sqlite",
        )
        yield Beside(provisioner, usage)
        if not ledger.rows("select session from usage_witness limit 1"):
            raise RuntimeError(f"the ledger was told of no session:\n{ledger.log('ledger')}")
    finally:
        ledger.end()
