"""Whether anybody has come to a session: by what they log in to it with, and by what they do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from jupyterhub import orm
from sqlalchemy import func

from arcetri_spawner.waiting import Opened

_SETTLED: Final = timedelta(seconds=30)
"""What is seen of a session this soon is the platform itself, asking whether it is ready."""


def opened(app: Any) -> Opened:
    """A function that tells it of the running application; for its event loop only."""

    def was_opened(username: str, server_name: str, since: datetime) -> bool:
        user = app.users.get(username)
        if user is None or server_name not in user.spawners:
            return False
        spawner = user.spawners[server_name]
        # A browser shows the session a token that the hub gave for this very server.
        shown = (
            app.db.query(func.max(func.coalesce(orm.APIToken.last_activity, orm.APIToken.created)))
            .filter(
                orm.APIToken.user_id == user.id, orm.APIToken.client_id == spawner.oauth_client_id
            )
            .scalar()
        )
        if _aware(shown) >= since:
            return True
        # Programs come with tokens of their own; the proxy notes what they send.
        return _aware(spawner.orm_spawner.last_activity) >= since + _SETTLED

    return was_opened


def _aware(moment: datetime | None) -> datetime:
    """JupyterHub's moments are in UTC and do not say so."""
    return moment.replace(tzinfo=UTC) if moment else datetime.min.replace(tzinfo=UTC)
