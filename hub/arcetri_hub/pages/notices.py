"""What a running session's user must know, as JSON, for pages and for JupyterLab in the session."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from jupyterhub.scopes import needs_scope

from arcetri_hub.pages import amounts
from arcetri_hub.pages.base import ServerNow
from arcetri_hub.pages.raw import may_read_details
from arcetri_hub.pages.refusals import Refused
from arcetri_hub.pages.wording import Ended, ended
from arcetri_spawner.errors import ArcetriError

if TYPE_CHECKING:
    from arcetri_hub.reaper import Notice


class NoticesNow(ServerNow):
    """``/hub/arcetri/notices?user=&server=``: what is announced of a session, or how it ended."""

    @needs_scope("read:servers")  # type: ignore[untyped-decorator]  # JupyterHub's
    async def _answer(self, user_name: str, server_name: str) -> None:
        user = self.the_user(user_name)
        announced = [n for n in self.platform.notices(user.name) if n.server_name == server_name]
        try:
            last = await self._last(user.name, server_name)
        except ArcetriError as error:
            raise Refused(error) from error
        self.set_header("Cache-Control", "no-store")
        self.finish(
            {
                "notices": [_announced(n, amounts.utc_now()) for n in announced],
                "ended": _said(last.code, last.sentence, last.at) | {"details": last.details}
                if last
                else None,
            }
        )

    async def _last(self, user_name: str, server_name: str) -> Ended | None:
        """How the server's last session ended; None while there is one, asked of memory first."""
        platform = self.platform
        if await platform.service.find(user_name, server_name) is not None:
            return None
        identity = await platform.identities.known(user_name)
        last = await platform.store.last_ended(identity.account_id, server_name)
        zone = platform.catalogs.current.catalog.site.timezone
        raw = await may_read_details(self, user_name)
        return ended(last, zone, amounts.utc_now(), raw=raw)


def _announced(notice: Notice, now: datetime) -> dict[str, Any]:
    """An announced end. Its seconds are for clocks that are set otherwise than ours."""
    at = notice.at
    return {
        "code": notice.code,
        "sentence": notice.sentence,
        "at": at.isoformat() if at else None,
        "seconds": max((at - now).total_seconds(), 0.0) if at else None,
        # Saving is use, and would keep what is idle; and on a node that is away nothing is saved.
        "saves": notice.code not in ("idle", "node_away"),
        "returns": notice.returns,
    }


def _said(code: str, sentence: str, at: str) -> dict[str, Any]:
    return {"code": code, "sentence": sentence, "at": at}
