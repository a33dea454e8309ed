"""A hub with the real authenticator and a spawner that starts nothing worth mentioning.

Read by JupyterHub in a process of its own; ``hub_process.py`` says what is in the environment.
"""

import asyncio
import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from jupyterhub.handlers import BaseHandler
from jupyterhub.proxy import Proxy
from jupyterhub.spawner import Spawner
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from arcetri_hub.auth import HubIdentities, IamAuthenticator
from arcetri_spawner.groups import GroupPath, normalize_groups
from arcetri_spawner.policy import reasons
from arcetri_spawner.policy.model import Identity, Reason, Standing
from arcetri_spawner.store import Store

FOLDER = Path(os.environ["TEST_HUB_FOLDER"])
SETTINGS = json.loads((FOLDER / "hub.json").read_text())
GROUPS = FOLDER / "groups.json"
SEEN = FOLDER / "seen.jsonl"

store = Store.open(f"sqlite:///{FOLDER}/hub.sqlite")
identities = HubIdentities(store)


def groups(which: str) -> frozenset[str]:
    """The catalog of the moment, as the test last wrote it."""
    return frozenset(json.loads(GROUPS.read_text())[which])


def refusal(mine: Collection[GroupPath]) -> Reason | None:
    """What the catalog of the moment says to somebody with these groups."""
    allowed = normalize_groups(groups("allowed"))
    return None if allowed & set(mine) else reasons.not_allowed("Lab", mine, (), allowed)


def note(kind: str, data: Any) -> None:
    """Tell the test something."""
    with SEEN.open("a") as file:
        file.write(json.dumps([kind, data]) + "\n")


def plain(identity: Identity) -> dict[str, Any]:
    return {
        "account_id": identity.account_id,
        "name": identity.name,
        "groups": sorted(identity.groups),
        "standing": identity.standing.value,
        "display_name": identity.display_name,
        "checked_at": identity.checked_at and identity.checked_at.isoformat(),
    }


class NoProxy(Proxy):  # type: ignore[misc]
    """The tests talk to the hub itself."""

    should_start = False

    async def get_all_routes(self) -> dict[str, Any]:
        return {}

    async def add_route(self, routespec: str, target: str, data: Any) -> None:
        pass

    async def delete_route(self, routespec: str) -> None:
        pass


class Answering(RequestHandler):
    def get(self) -> None:
        self.finish("up")


class GateSpawner(Spawner):  # type: ignore[misc]
    """Asks who the person is, as the real one does, and then serves one sentence."""

    httpd: Any = None

    async def start(self) -> tuple[str, int]:
        identity = await identities.fresh(self.user.name)
        note("start", {**plain(identity), "env": self.get_env()})
        if identity.standing is not Standing.ADMITTED or not identity.groups & groups("allowed"):
            raise RuntimeError(f"refused: {identity.standing.value}")
        sockets = bind_sockets(0, "127.0.0.1")
        self.httpd = HTTPServer(Application([(".*", Answering)]))
        self.httpd.add_sockets(sockets)
        return "127.0.0.1", sockets[0].getsockname()[1]

    async def stop(self, now: bool = False) -> None:  # noqa: ARG002  # JupyterHub's signature
        if self.httpd is not None:
            self.httpd.stop()
            self.httpd = None

    async def poll(self) -> int | None:
        return 0 if self.httpd is None else None


class Ask(BaseHandler):  # type: ignore[misc]
    """GET /hub/test/fresh?user=NAME&times=N: what the spawner would be told."""

    async def get(self, what: str) -> None:
        name = self.get_argument("user")
        times = int(self.get_argument("times", "1"))
        ask = identities.fresh if what == "fresh" else identities.known
        answers = await asyncio.gather(*(ask(name) for _ in range(times)))
        self.finish({"answers": [plain(answer) for answer in answers]})


def hub_ready(app: Any) -> None:
    # A function, not the bound method: JupyterHub copies its configuration, objects and all.
    identities.attach(app)


c: Any = get_config()  # type: ignore[name-defined]  # noqa: F821
c.JupyterHub.authenticator_class = IamAuthenticator
c.JupyterHub.spawner_class = GateSpawner
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.bind_url = SETTINGS["url"]
c.JupyterHub.hub_bind_url = SETTINGS["url"]
c.JupyterHub.db_url = f"sqlite:///{FOLDER}/hub.sqlite"
c.JupyterHub.cookie_secret_file = str(FOLDER / "cookie_secret")
c.JupyterHub.log_level = "DEBUG"
c.JupyterHub.cleanup_servers = False
c.JupyterHub.redirect_to_server = False
c.JupyterHub.services = [{"name": "tester", "api_token": SETTINGS["token"]}]
c.JupyterHub.load_roles = [
    {
        "name": "tester",
        "scopes": ["admin:users", "admin:servers", "admin:auth_state", "tokens"],
        "services": ["tester"],
    }
]
c.IamAuthenticator.client_id = SETTINGS["client_id"]
c.IamAuthenticator.client_secret_file = SETTINGS["client_secret_file"]
c.IamAuthenticator.issuer = SETTINGS["issuer"]
c.IamAuthenticator.oauth_callback_url = SETTINGS["callback"]
c.IamAuthenticator.refusal = refusal
c.IamAuthenticator.admin_groups = lambda: groups("admins")
c.IamAuthenticator.store_getter = lambda: store
c.IamAuthenticator.page_handlers = lambda _app: [(r"/test/(fresh|known)", Ask)]
c.IamAuthenticator.on_hub_ready = hub_ready
c.IamAuthenticator.observe_answer = lambda kind: note("answer", kind)
for name, value in SETTINGS["traits"].items():
    setattr(c.IamAuthenticator, name, value)
