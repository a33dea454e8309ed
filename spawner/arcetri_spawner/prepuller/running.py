"""Running the prepuller: the catalog, the connection and the metrics, wired together."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, start_http_server

from arcetri_spawner.backends.kubernetes.api import Api, ApiAway, ApiRefused
from arcetri_spawner.backends.kubernetes.connecting import connect
from arcetri_spawner.catalog import CatalogHolder
from arcetri_spawner.errors import CatalogError
from arcetri_spawner.prepuller.figures import Figures
from arcetri_spawner.prepuller.keeper import RETRY, Keeper
from arcetri_spawner.prepuller.wanted import Prepulling

log = structlog.get_logger(__name__)

_PATIENCE: Final = 2.0
"""Seconds between two looks for what is not there yet."""


@dataclass(frozen=True, slots=True)
class Running:
    """What the process is told."""

    profiles: Path
    """The catalog."""
    settings: Prepulling
    owner: str = ""
    """A ConfigMap of the namespace: when it goes, so do the DaemonSets."""
    port: int = 0
    """Where metrics are served; 0 serves none."""


async def run(options: Running) -> None:
    """Run until SIGTERM or Ctrl-C. What was made stays: the next one goes on from there.

    Raises:
        ClusterFault: Nothing says where the cluster's API server is.
    """
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    api = await connect()
    work = asyncio.create_task(_work(api, options))
    stop = asyncio.create_task(ended.wait())
    try:
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            await work
    finally:
        for task in (work, stop):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await api.close()


async def _work(api: Api, options: Running) -> None:
    catalogs: CatalogHolder | None = None

    def refused() -> bool:
        return catalogs is None or bool(catalogs.findings)

    registry = CollectorRegistry()
    figures = Figures(registry, refused)
    with _served(registry, options.port):
        catalogs = await _catalogs(options.profiles)
        settings = await _owned(api, options)
        await Keeper(api, catalogs, settings, figures.told).run()


@contextlib.contextmanager
def _served(registry: CollectorRegistry, port: int) -> Iterator[None]:
    """Serve the metrics, where a port says so."""
    if not port:
        yield
        return
    server, thread = start_http_server(port, registry=registry)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def _catalogs(path: Path) -> CatalogHolder:
    """The catalog, once there is a good one: until then nothing is made, and nothing removed."""
    said = ""
    while True:
        try:
            return await asyncio.to_thread(CatalogHolder, path)
        except CatalogError as error:
            if str(error) != said:
                said = str(error)
                log.warning("waits for a catalog that can be used", path=str(path), why=said)
            await asyncio.sleep(_PATIENCE)


async def _owned(api: Api, options: Running) -> Prepulling:
    """The settings, with the object that the DaemonSets go with."""
    if not options.owner:
        return options.settings
    path = f"/api/v1/namespaces/{options.settings.namespace}/configmaps/{options.owner}"
    while True:
        try:
            found = await api.get(path)
        except (ApiAway, ApiRefused) as error:
            log.warning(
                "cannot read what its DaemonSets go with yet", path=path, why=str(error)[:300]
            )
            await asyncio.sleep(RETRY)
            continue
        owner = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": options.owner,
            "uid": found["metadata"]["uid"],
        }
        return replace(options.settings, owner=owner)
