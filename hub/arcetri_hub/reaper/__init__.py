"""Ends sessions nobody uses, that run too long or hold what others need, after warning their users.

``decide`` is the arithmetic, ``ask`` and ``hub`` are the edges, ``loop`` joins them. The hub's
factory builds one with ``build_reaper`` and runs it as a task.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from arcetri_hub.reaper.ask import SessionClient
from arcetri_hub.reaper.decide import Moment
from arcetri_hub.reaper.hub import ROLES, SERVICE, SERVICES, JupyterHubView, Running
from arcetri_hub.reaper.loop import Ender, Reaper
from arcetri_hub.reaper.words import Notice
from arcetri_spawner.waiting import Demands

__all__ = [
    "ROLES",
    "SERVICE",
    "SERVICES",
    "Notice",
    "Reaper",
    "build_reaper",
]


def build_reaper(
    app: Any,
    running: Running,
    ends: Callable[[UUID], bool],
    end: Ender,
    demands: Demands,
    zone: Callable[[], ZoneInfo],
    *,
    interval: float = 30.0,
) -> Reaper:
    """Wire a reaper into a running JupyterHub.

    Args:
        app: The JupyterHub application, whose configuration has ``SERVICES`` and ``ROLES``.
        running: The started sessions; ``SessionService.running``.
        ends: Whether one was promised an end; ``SessionService.ends``.
        end: Ends one; ``SessionService.end``.
        demands: What they hold and others want back; ``SessionService.demands``.
        zone: The site's time zone, for what users read.
        interval: Seconds between two looks.
    """
    reaper = Reaper(
        JupyterHubView(app, running, ends, demands.of, demands.foreseen, read_clocks),
        SessionClient(),
        end,
        read_clocks,
        zone=zone,
        interval=interval,
    )
    demands.changed = reaper.wake
    return reaper


def read_clocks() -> Moment:
    """Both clocks, now."""
    return Moment(datetime.now(UTC), time.monotonic())
