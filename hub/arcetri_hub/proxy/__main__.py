"""Runs the proxy: ``python -m arcetri_hub.proxy --port 8000 --api-port 8001 ...``.

The API's secret comes in the environment variable ``CONFIGPROXY_AUTH_TOKEN``, as for every
configurable-http-proxy.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import click
from tornado.httpserver import HTTPServer
from tornado.web import Application

from arcetri_hub.proxy.arrival import announce
from arcetri_hub.proxy.targets import Routes, Targets
from arcetri_hub.proxy.traffic import MESSAGE_LIMIT, Traffic


@click.command()
@click.option("--ip", default="127.0.0.1", help="Address to serve.")
@click.option("--port", default=8000, help="Port to serve.")
@click.option("--api-ip", default="127.0.0.1", help="Address of the routes' API.")
@click.option("--api-port", default=8001, help="Port of the routes' API.")
@click.option("--default-target", default=None, help="Who serves what has no route.")
@click.option("--error-target", default=None, help="Who makes pages for errors.")
@click.option("--pid-file", type=click.Path(path_type=Path), help="Where to write the pid.")
@click.option("--tell", metavar="URL", help="Where the hub is told that this proxy is new.")
@click.option(
    "--tell-token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The secret with which it is told.",
)
@click.option("--log-level", default="info", hidden=True, help="Accepted, for compatibility.")
def main(
    ip: str,
    port: int,
    api_ip: str,
    api_port: int,
    default_target: str | None,
    error_target: str | None,
    pid_file: Path | None,
    tell: str | None,
    tell_token_file: Path | None,
    log_level: str,  # noqa: ARG001 - JupyterHub's ConfigurableHTTPProxy may pass it
) -> None:
    """Pass requests on to the hub and to the sessions it has routes for."""
    token = os.environ.get("CONFIGPROXY_AUTH_TOKEN")
    if not token:
        # Without one, the library's API would let anybody on this machine lead requests away.
        raise click.ClickException(
            "The routes' API needs a secret: set the environment variable CONFIGPROXY_AUTH_TOKEN."
        )
    proxy = Routes(
        {
            "default_target": default_target,
            "error_target": error_target,
            "auth_token": token,
        }
    )
    if (tell is None) != (tell_token_file is None):
        raise click.UsageError("--tell and --tell-token-file go together.")
    if pid_file is not None:
        pid_file.write_text(str(os.getpid()), encoding="utf-8")
    arrival = None
    if tell and tell_token_file:
        arrival = announce(tell, tell_token_file.read_text(encoding="utf-8").strip())
    asyncio.run(_serve(proxy, (ip, port), (api_ip, api_port), arrival))


async def _serve(
    proxy: Routes,
    front: tuple[str, int],
    api: tuple[str, int],
    arrival: Coroutine[Any, Any, None] | None,
) -> None:
    traffic = Application(
        [(r"/.*", Traffic, {"targets": Targets(proxy)})],
        websocket_max_message_size=MESSAGE_LIMIT,
        # What is asked and answered is the target's to log.
        log_function=lambda _handler: None,
    )
    servers = [
        # What a stream may keep: a web socket's message and its frame. Bodies are not kept.
        HTTPServer(traffic, max_buffer_size=MESSAGE_LIMIT + 1_000_000),
        HTTPServer(proxy.api_app),
    ]
    servers[0].listen(front[1], front[0])
    servers[1].listen(api[1], api[0])
    # Only now, since the hub answers with the routes.
    telling = asyncio.create_task(arrival) if arrival else None
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()
    if telling:
        telling.cancel()
    for server in servers:
        server.stop()


if __name__ == "__main__":
    main()
