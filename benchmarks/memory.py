"""What every process of a platform keeps in memory, with one session that does nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.hubs import ours
from benchmarks.start import PROFILES

_NAMES: Final = (
    ("jupyterhub.singleuser", "notebook_server"),
    ("keeper.py", "keeper_of_a_session"),
    ("arcetri_hub.proxy", "proxy"),
    ("arcetri_hub.devidp", "development_iam"),
    ("arcetri_accounting.ledger", "ledger"),
    ("arcetri_accounting.agent", "agent"),
    ("jupyterhub", "hub"),
    ("arcetri_hub", "supervisor"),
)
"""A word of each one's command line, the more telling first."""


def run() -> dict[str, Any]:
    """Measure the proportional set size of each process, in MB."""
    with (
        tempfile.TemporaryDirectory(prefix="arcetri-bench-") as name,
        ours(Path(name), PROFILES, ["user00"]) as hub,
        hub.client("user00") as client,
    ):
        hub.ask(client, "user00")
        hub.wait_ready(client, "user00")
        supervisor = psutil.Process(hub.pid).parent()
        assert supervisor is not None  # noqa: S101 - the hub is its child
        found = {
            _name(process): round(process.memory_full_info().pss / 1e6, 1)
            for process in (supervisor, *supervisor.children(recursive=True))
        }
        hub.stop(client, "user00")
    return dict(sorted(found.items()))


def _name(process: psutil.Process) -> str:
    words = process.cmdline()
    return next(name for word, name in _NAMES if any(word in part for part in words))
