"""What the ledger does by itself while it serves: reconcile, and let go of old raw data."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio.to_thread
import structlog

from arcetri_accounting.ledger import reconcile, retention
from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.errors import LedgerError
from arcetri_accounting.ledger.metrics import Metrics
from arcetri_accounting.ledger.settings import LedgerSettings
from arcetri_accounting.ledger.times import now_ms

_log = structlog.get_logger("arcetri.ledger")


@contextlib.asynccontextmanager
async def running(
    database: Database, settings: LedgerSettings, metrics: Metrics
) -> AsyncIterator[None]:
    """Keep the tasks going for as long as the context lasts."""

    def reconciled() -> None:
        outcome = reconcile.run(database, now_ms(), round(settings.reconcile_after_s * 1000))
        metrics.withdrawn.inc(outcome.spans)

    def pruned() -> None:
        retention.prune(database, settings.retention, now_ms())

    tasks = [
        asyncio.create_task(_repeat("reconcile", reconciled, settings.reconcile_every_s, metrics)),
        asyncio.create_task(_repeat("prune", pruned, settings.prune_every_s, metrics)),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _repeat(name: str, work: Callable[[], Any], every: float, metrics: Metrics) -> None:
    while True:
        try:
            await anyio.to_thread.run_sync(work)
            metrics.last_run.labels(name).set_to_current_time()
        except LedgerError as error:
            metrics.failures.labels(name).inc()
            _log.warning("background_failed", task=name, code=error.code, why=str(error))
        except Exception:  # noqa: BLE001 - the next run comes all the same
            metrics.failures.labels(name).inc()
            _log.exception("background_broke", task=name)
        await asyncio.sleep(every)
