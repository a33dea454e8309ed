"""The pages: choosing, starting and watching sessions, and the same by REST.

They come before JupyterHub's own handlers, over JupyterHub's own templates and stylesheet. The one
gate that decides is the spawner's start; everything here comes before it or shows what it said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyterhub.utils import url_path_join

from arcetri_hub.pages import amounts
from arcetri_hub.pages.account import OwnAccount
from arcetri_hub.pages.api import ServerApi, StartProgress
from arcetri_hub.pages.csp import ContentSecurity, NonceExtension
from arcetri_hub.pages.health import PartsNow
from arcetri_hub.pages.home import HomePage, NewSession
from arcetri_hub.pages.live import OffersNow
from arcetri_hub.pages.notices import NoticesNow
from arcetri_hub.pages.pending import NotRunning, SpawnPending
from arcetri_hub.pages.refusals import default_remedy
from arcetri_hub.pages.returning import GoBack
from arcetri_hub.pages.spawn import SpawnPage
from arcetri_hub.pages.static import STATIC, Static, asset
from arcetri_hub.pages.stop import RemoveServer, StopSession
from arcetri_hub.pages.waiting import RequestNow, WaitingPage

if TYPE_CHECKING:
    from jupyterhub.handlers import BaseHandler
    from jupyterhub.user import User

    from arcetri_hub.devidp.demo import DemoUser
    from arcetri_hub.pages.platform import PagesPlatform

TEMPLATES = Path(__file__).parent.parent / "templates"

__all__ = ["TEMPLATES", "configure", "handlers"]


def handlers(platform: PagesPlatform) -> list[tuple[str, type] | tuple[str, type, dict[str, Any]]]:
    """The routes, below ``/hub``, to be registered before JupyterHub's own."""
    known = {"platform": platform}
    return [
        (r"/spawn", SpawnPage, known),
        (r"/spawn/([^/]+)", SpawnPage, known),
        (r"/spawn/([^/]+)/([^/]+)", SpawnPage, known),
        (r"/spawn-pending/([^/]+)", SpawnPending, known),
        (r"/spawn-pending/([^/]+)/([^/]+)", SpawnPending, known),
        (r"/user/(?P<user_name>[^/]+)(?P<user_path>/.*)?", NotRunning, known),
        (r"/home", HomePage, known),
        (r"/waiting/([^/]+)", WaitingPage, known),
        (r"/waiting/([^/]+)/([^/]+)", WaitingPage, known),
        (r"/api/arcetri/requests/([^/]+)", RequestNow, known),
        (r"/arcetri/new", NewSession, known),
        (r"/arcetri/stop/([^/]+)", StopSession, known),
        (r"/arcetri/stop/([^/]+)/([^/]+)", StopSession, known),
        (r"/arcetri/return/([^/]+)", GoBack, known),
        (r"/arcetri/return/([^/]+)/([^/]+)", GoBack, known),
        (r"/arcetri/remove/([^/]+)/([^/]+)", RemoveServer, known),
        (r"/api/users/([^/]+)/server", ServerApi, known),
        (r"/api/users/([^/]+)/servers/([^/]*)", ServerApi, known),
        (r"/api/users/([^/]+)/server/progress", StartProgress, known),
        (r"/api/users/([^/]+)/servers/([^/]*)/progress", StartProgress, known),
        (r"/api/arcetri/account", OwnAccount, known),
        (r"/arcetri/offers", OffersNow, known),
        (r"/arcetri/notices", NoticesNow, known),
        (r"/arcetri/health", PartsNow, known),
        (r"/arcetri/static/(.*)", Static, {"path": str(STATIC)}),
    ]


def landing(platform: PagesPlatform) -> Callable[[BaseHandler], str]:
    """Where somebody lands who comes for no page in particular.

    With nothing of theirs running or waiting, on the page where something is started; else on their
    home page.
    """

    def where(handler: BaseHandler) -> str:
        user = handler.current_user
        if user is None or any(spawner.active for spawner in user.spawners.values()):
            return ""
        if any(waits.grant.username == user.name for waits in platform.service.waiting.entries()):
            return ""
        return str(url_path_join(handler.hub.base_url, "spawn"))

    return where


def configure(
    c: Any,
    platform: PagesPlatform,
    *,
    base_url: str = "/hub/",
    people: Sequence[DemoUser] = (),
) -> None:
    """Set what the pages need of JupyterHub on the configuration object ``c``.

    Args:
        c: JupyterHub's configuration; ``tornado_settings`` set before are kept.
        platform: For what every page shows.
        base_url: Where the hub's own pages lie.
        people: Whom one may log in as, where that is public; the login page lists them.
    """

    def site_name(_user: User | None) -> str:
        return str(platform.catalogs.current.catalog.site.name)

    def site_zone(_user: User | None) -> str:
        return str(platform.catalogs.current.catalog.site.timezone)

    def is_site_admin(user: User | None) -> bool:
        return bool(user and user.admin)

    def simulates() -> bool:
        have = platform.backend.current_inventory().flavors.values()
        return any(flavor.simulated for flavor in have)

    def asset_url(_user: User | None) -> Any:
        return lambda name: asset(base_url, name)

    c.JupyterHub.template_paths = [str(TEMPLATES)]
    # JupyterHub calls each of these with the user who looks.
    c.JupyterHub.template_vars.update(
        {
            "site_name": site_name,
            "site_zone": site_zone,
            "is_site_admin": is_site_admin,
            "asset": asset_url,
            "simulates": lambda _user: simulates,
            "demonstration": lambda _user: people,
            "default_remedy": lambda _user: default_remedy,
            "announced": lambda user: platform.notices(user.name) if user else [],
            "left": lambda _user: lambda at: amounts.span(at - amounts.utc_now()),
        }
    )
    c.JupyterHub.jinja_environment_options.update({"extensions": [NonceExtension]})
    c.JupyterHub.tornado_settings.update({"transforms": [ContentSecurity]})
    c.JupyterHub.logo_file = str(STATIC / "favicon.svg")
    # A GET never starts a server, and neither does a log-in.
    c.JupyterHub.redirect_to_server = False
    c.JupyterHub.default_url = landing(platform)
    c.JupyterHub.implicit_spawn_seconds = 0
