"""A hub with people, groups, and the usage service as its OAuth client; read by JupyterHub."""

import json
import os
from pathlib import Path
from typing import Any

from jupyterhub.auth import DummyAuthenticator
from jupyterhub.proxy import Proxy

from arcetri_accounting.reports.auth import READ, READ_ALL

FOLDER = Path(os.environ["TEST_HUB_FOLDER"])
SETTINGS = json.loads((FOLDER / "hub.json").read_text())


class NoProxy(Proxy):  # type: ignore[misc]
    """The tests talk to the hub itself."""

    should_start = False

    async def get_all_routes(self) -> dict[str, Any]:
        return {}

    async def add_route(self, routespec: str, target: str, data: Any) -> None:
        pass

    async def delete_route(self, routespec: str) -> None:
        pass


c: Any = get_config()  # type: ignore[name-defined]  # noqa: F821
c.JupyterHub.authenticator_class = DummyAuthenticator
c.DummyAuthenticator.password = SETTINGS["password"]
c.DummyAuthenticator.allow_all = True
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.bind_url = SETTINGS["url"]
c.JupyterHub.hub_bind_url = SETTINGS["url"]
c.JupyterHub.db_url = f"sqlite:///{FOLDER}/hub.sqlite"
c.JupyterHub.cookie_secret_file = str(FOLDER / "cookie_secret")
c.JupyterHub.redirect_to_server = False
c.JupyterHub.load_groups = SETTINGS["groups"]
c.JupyterHub.custom_scopes = {
    READ: {"description": "Read one's own usage"},
    READ_ALL: {"description": "Read everybody's usage"},
}
c.JupyterHub.services = [
    {
        "name": "usage",
        "api_token": SETTINGS["service_token"],
        "oauth_client_id": "service-usage",
        "oauth_redirect_uri": SETTINGS["redirect"],
        "oauth_no_confirm": True,
        "oauth_client_allowed_scopes": [READ, READ_ALL],
    },
    {"name": "tester", "api_token": SETTINGS["token"]},
    {"name": "board", "api_token": SETTINGS["board_token"]},
]
c.JupyterHub.load_roles = [
    {"name": "user", "scopes": ["self", "access:services!service=usage", READ]},
    {"name": "usage-admin", "scopes": [READ_ALL], "groups": ["/lab/admins"]},
    {"name": "board", "scopes": [READ_ALL], "services": ["board"]},
    {
        "name": "tester",
        "scopes": ["admin:users", "tokens", "groups", READ],
        "services": ["tester"],
    },
]
