"""One hub at a time on a PostgreSQL: every connection of the store holds an advisory lock.

The lock belongs to the connection that works, not to one beside it. So whoever lost it, because the
connection broke and another hub was waiting, can write nothing from that moment on. On SQLite the
lock of the state folder does the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import structlog
from sqlalchemy import Engine, event

from arcetri_spawner.errors import AnotherHub

log = structlog.get_logger(__name__)

HUB_LOCK: Final = 0x4172636574726968
"""Any number that nobody else uses as an advisory lock in this database."""

KEEPALIVE: Final = (
    "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
    " -c tcp_user_timeout=15000"
)
"""Settings of the connection: a server that hears no more of a hub lets its lock go in 25 s."""


_WAIT_SECONDS: Final = 1.0
"""Between two looks whether the other hub has ended."""


def when_alone(work: Callable[[], None]) -> None:
    """Do something with a database as soon as no hub works with it, and wait for that."""
    waits = False
    while True:
        try:
            return work()
        except AnotherHub:
            if not waits:
                log.warning("another hub works with this database: waiting until it ends")
            waits = True
            time.sleep(_WAIT_SECONDS)


def hold_lock(engine: Engine) -> None:
    """Let every new connection of a PostgreSQL engine take the lock or be refused.

    The engine may have only one connection at a time.
    """
    event.listen(engine, "connect", _take)


def _take(connection: Any, record: object) -> None:
    del record
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", (HUB_LOCK,))
        (taken,) = cursor.fetchone()
    connection.commit()
    if not taken:
        connection.close()
        raise AnotherHub(
            "Another hub works with this platform's database, so this one can do nothing.",
            remedy="Reload the page in a minute, when the other hub answers. The operator sees in"
            " the hub's log which of the two waits.",
        )
