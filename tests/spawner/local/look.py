"""Look at the machine's GPUs again and again, once a line of standard input; prints JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path

import structlog

from arcetri_spawner.backends.local.devices import offered
from arcetri_spawner.backends.local.nvml import Watcher
from arcetri_spawner.catalog import load


async def main(profiles: str, limit: float) -> None:
    catalog = load(Path(profiles)).catalog
    watcher = Watcher(limit)
    while await asyncio.to_thread(sys.stdin.readline):
        loop = asyncio.get_running_loop()
        began = loop.time()
        await watcher.refresh()
        flavors = offered(catalog, watcher.last, simulate=True)
        answer = {
            "stale": watcher.stale,
            "took": loop.time() - began,
            "gpus": [asdict(gpu) for gpu in watcher.last.gpus],
            "flavors": {
                name: [asdict(device) for device in found.devices]
                for name, found in flavors.items()
            },
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
