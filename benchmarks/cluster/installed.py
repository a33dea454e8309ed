"""What the chart installs beside a hub: the provisioner, and the ledger with an agent."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
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
    told: Callable[[], None] = lambda: None
    """Returns once the ledger was told of a session; to be called while the hub still runs."""


@contextlib.contextmanager
def beside(cluster: Cluster, folder: Path, namespace: str) -> Iterator[Beside]:
    """Run them for the sessions of a namespace, over the claim for its homes.

    Args:
        cluster: Where.
        folder: For what they keep.
        namespace: Where sessions run; ``site.namespace`` has made it.

    Yields:
        What a hub is told of them. That the ledger hears of sessions is for ``told`` to see:
        without it, what was measured is something else.
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

        def told() -> None:
            count = "select session from usage_witness limit 1"
            ledger.until(lambda: ledger.rows(count), "the ledger is told of a session")

        yield Beside(provisioner, usage, told)
    finally:
        ledger.end()
