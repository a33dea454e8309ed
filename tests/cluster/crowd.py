"""A hub without JupyterHub whose people wait in the queues of the real Kueue, to be killed.

``python -m tests.cluster.crowd FOLDER NAMESPACE INSTANCE KUBECONFIG QUEUES``: it does what the
files in its folder say, and the next one over the same folder goes on with it.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import structlog
from kubernetes.aio import client, config

from arcetri_spawner.backends.kubernetes.kueue.queue import KueueQueue
from arcetri_spawner.errors import ArcetriError
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy.model import Identity
from arcetri_spawner.queues.names import Names
from arcetri_spawner.service import SessionService
from tests.cluster.podworld import PodWorld, launch

log = structlog.get_logger(__name__)

PAUSE = 0.1


class CrowdWorld(PodWorld):
    """One whose queue is Kueue's; people belong to the group that their names begin with."""

    def __init__(
        self, folder: Path, namespace: str, instance: str, kubeconfig: Path, queues: str
    ) -> None:
        text = (folder / "profiles.yaml").read_text(encoding="utf-8")
        super().__init__(folder, namespace, instance, kubeconfig, catalog=text)
        self.line = KueueQueue(
            self._kueue,
            Names(queues, namespace),
            instance,
            self.catalogs,
            self.backend.current_inventory,
            claims=self.backend.claims,
            changes=self.backend.inventory,
        )
        self.service = SessionService(
            catalogs=self.catalogs,
            store=self.store,
            queue=self.line,
            backend=self.backend,
            identities=self,
        )
        self._works: set[asyncio.Task[Any]] = set()
        self._ended: set[str] = set()

    async def _kueue(self) -> client.ApiClient:
        found = client.Configuration()
        await config.load_kube_config(str(self.kubeconfig), client_configuration=found)
        return client.ApiClient(found)

    async def fresh(self, username: str, *, reuse: float = 0.0) -> Identity:  # noqa: ARG002
        account = await self.store.account_for("https://iam.example/", username, username)
        group = GroupPath(f"/lab/{username.partition('-')[0]}")
        return Identity(account.id, username, frozenset({group}))

    async def ready(self) -> None:
        """At once."""

    async def start(self, username: str, server_name: str, choice: Mapping[str, str]) -> None:
        """Begin a start; what becomes of it is its own affair."""
        self._work(self.service.start(username, server_name, dict(choice), launch()))

    def _work(self, what: Any) -> None:
        async def quietly() -> None:
            try:
                await what
            except ArcetriError as error:
                log.warning("in vain", why=str(error))

        task = asyncio.create_task(quietly())
        self._works.add(task)
        task.add_done_callback(self._works.discard)

    async def live(self) -> None:
        """Recover, and do as told until killed."""
        await self.backend.recover()
        self._work(self.service.reconciler.run(self))
        await self.service.recover()
        (self.folder / "recovered").touch()
        asked = usernames(self.folder)
        while True:
            for name, flavor in told(self.folder, "asks"):
                if name not in asked:
                    asked.add(name)
                    raw = {"flavor": flavor, "environment": "python"}
                    _, starts = await self.service.ask(name, "", raw)
                    if starts:
                        await self.start(name, "", raw)
            for name in told(self.folder, "ends"):
                if name not in self._ended:
                    self._ended.add(name)
                    self._work(self.service.end_server(name, "", "stopped"))
            await asyncio.sleep(PAUSE)


def told(folder: Path, what: str) -> list[Any]:
    """What somebody has told the hub to do."""
    path = folder / f"{what}.json"
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else []


def tell(folder: Path, what: str, all_of_it: list[Any]) -> None:
    """Tell the hub what to do, or the next one."""
    part = folder / f"{what}.part"
    part.write_text(json.dumps(all_of_it), encoding="utf-8")
    part.replace(folder / f"{what}.json")


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """What the hub's database has."""
    with closing(sqlite3.connect(folder / "arcetri.sqlite", timeout=20)) as database:
        return database.execute(query).fetchall()


def usernames(folder: Path) -> set[str]:
    """Who has ever asked."""
    return {str(name) for (name,) in rows(folder, "select username from arcetri_request")}


if __name__ == "__main__":
    where, space, whose, kubeconfig_file, queues_name = sys.argv[1:]
    place = (Path(where), space, whose, Path(kubeconfig_file), queues_name)

    async def _main() -> None:
        await CrowdWorld(*place).live()

    asyncio.run(_main())
