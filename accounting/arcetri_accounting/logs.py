"""How a process of the platform logs: one line an event, on standard error.

A traceback never shows values: variables hold tokens, and structlog's own console shows them where
some other package has brought a prettier traceback along.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal

import structlog


def configure_logs(style: Literal["json", "text"] = "json") -> None:
    """Log from now on: as JSON for a service whose log is collected, as text beside other text."""
    last: list[Any] = [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ]
    if style == "text":
        plain = structlog.dev.plain_traceback
        last = [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=plain)]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
