"""The reference hub: stock JupyterHub with SimpleLocalProcessSpawner, default traits otherwise.

Read by JupyterHub in a process of its own. What differs from the defaults is only what must: where
files lie and ports are, the same login as ours, and root's consent to run a notebook server. The
reference on a cluster begins with this one, and then has pods.
"""

import json
import os
import sys
from pathlib import Path

from arcetri_hub.auth import IamAuthenticator
from arcetri_spawner.policy import reasons
from arcetri_spawner.store import Store

FOLDER = Path(os.environ["STOCK_FOLDER"])
SAID = json.loads((FOLDER / "said.json").read_text())

c = get_config()  # type: ignore[name-defined]  # noqa: F821 - JupyterHub puts it there
store = Store.open(f"sqlite:///{FOLDER}/accounts.sqlite")
ALLOWED = frozenset(SAID["groups"])

c.JupyterHub.bind_url = SAID["url"]
c.JupyterHub.hub_bind_url = f"http://{SAID.get('hub_ip', '127.0.0.1')}:{SAID['hub_port']}"
c.JupyterHub.db_url = f"sqlite:///{FOLDER}/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = str(FOLDER / "cookie-secret")
c.ConfigurableHTTPProxy.command = [sys.executable, "-m", "arcetri_hub.proxy"]
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{SAID['proxy_port']}"
c.ConfigurableHTTPProxy.pid_file = str(FOLDER / "proxy.pid")

c.JupyterHub.authenticator_class = IamAuthenticator
c.IamAuthenticator.issuer = SAID["issuer"]
c.IamAuthenticator.client_id = SAID["client_id"]
c.IamAuthenticator.client_secret_file = SAID["client_secret_file"]
c.IamAuthenticator.oauth_callback_url = f"{SAID['url']}/hub/oauth_callback"
c.IamAuthenticator.store_getter = lambda: store
c.IamAuthenticator.refusal = lambda groups: (
    None if groups & ALLOWED else reasons.not_allowed("Stock", groups, (), ALLOWED)
)

c.JupyterHub.spawner_class = "jupyterhub.spawner.SimpleLocalProcessSpawner"
c.SimpleLocalProcessSpawner.home_dir_template = str(FOLDER / "homes" / "{username}")
# A log-in would start a server before the first one is measured.
c.JupyterHub.redirect_to_server = False
if SAID.get("patient"):
    # The defaults give up when twenty start at once on two cores.
    c.Spawner.http_timeout = 180
    c.Spawner.start_timeout = 180
if os.geteuid() == 0:
    c.SimpleLocalProcessSpawner.args = ["--allow-root"]
