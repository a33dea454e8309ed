"""The processes of the platform: how each is started, and how one sees that it answers."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from urllib.parse import urlsplit

from arcetri_hub.settings import SETTINGS_VARIABLE
from arcetri_hub.up.children import ChildSpec
from arcetri_hub.up.iam import DISCOVERY
from arcetri_hub.up.prepare import Plan
from arcetri_hub.up.probe import status

_CONFIG = Path(__file__).parent.parent / "jupyterhub_config.py"


def iam(plan: Plan) -> ChildSpec:
    """The development IAM."""
    settings = plan.settings

    async def ready() -> bool:
        return await status(settings.iam.issuer.rstrip("/") + DISCOVERY) == 200

    return ChildSpec(
        name="iam",
        title="the development IAM",
        command=(
            sys.executable,
            "-m",
            "arcetri_hub.devidp",
            "--port",
            str(plan.iam_port),
            "--state",
            str(plan.folder.path / "iam.json"),
            "--client-id",
            settings.iam.client_id,
            "--client-secret-file",
            str(settings.iam.client_secret_file),
            "--hub-callback",
            settings.callback_url,
            # A logout from the platform would else leave the next person logged in here.
            "--end-session",
        ),
        log=plan.folder.logs / "iam.log",
        ready=ready,
    )


def proxy(plan: Plan) -> ChildSpec:
    """The proxy."""
    settings = plan.settings
    hub = f"http://127.0.0.1:{settings.hub_port}"
    there = settings.proxy
    if there is None:
        raise ValueError("the plan has no proxy")
    token = there.token_file.read_text(encoding="utf-8").strip()

    async def ready() -> bool:
        url = f"{there.api_url}/api/routes"
        return await status(url, {"Authorization": f"token {token}"}) == 200

    async def returned() -> None:
        """Tell the hub, so that the sessions' routes are there at once."""
        while plan.settings.supervisor_token_file is not None:
            token = plan.settings.supervisor_token_file.read_text(encoding="utf-8").strip()
            headers = {"Authorization": f"token {token}"}
            if await status(f"{hub}/hub/api/proxy", headers, method="POST", patience=30) == 200:
                return
            await asyncio.sleep(0.5)  # the hub may be on its way back too

    return ChildSpec(
        name="proxy",
        title="the proxy",
        command=(
            sys.executable,
            "-m",
            "arcetri_hub.proxy",
            "--ip",
            settings.ip,
            "--port",
            str(settings.port),
            "--api-ip",
            "127.0.0.1",
            "--api-port",
            str(urlsplit(there.api_url).port),
            # What has no route is the hub's, also just after the proxy was started again.
            "--default-target",
            hub,
            "--error-target",
            f"{hub}/hub/error",
        ),
        returned=returned,
        # JupyterHub reads the proxy's stamps of last activity as UTC.
        env={"CONFIGPROXY_AUTH_TOKEN": token},
        log=plan.folder.logs / "proxy.log",
        ready=ready,
    )


def hub(plan: Plan) -> ChildSpec:
    """JupyterHub."""
    settings = plan.settings
    host = f"[{settings.ip}]" if ":" in settings.ip else settings.ip

    async def ready() -> bool:
        # The hub itself first: the proxy would log each vain attempt.
        if await status(f"http://127.0.0.1:{settings.hub_port}/hub/api/health") != 200:
            return False
        login = await status(f"http://{host}:{settings.port}/hub/login", patience=30)
        return 200 <= login < 500

    return ChildSpec(
        name="hub",
        title="the hub",
        command=(
            sys.executable,
            "-m",
            "jupyterhub",
            "-f",
            str(_CONFIG),
        ),
        env={SETTINGS_VARIABLE: str(plan.folder.settings_file)},
        log=plan.folder.logs / "hub.log",
        ready=ready,
        patience=180,
    )
