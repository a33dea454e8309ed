"""``python -m arcetri_hub.devidp``: start the development IAM."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Final
from urllib.parse import urljoin, urlsplit

import click
import uvicorn

from arcetri_hub.devidp import app, directory
from arcetri_hub.devidp.guard import is_loopback_host
from arcetri_hub.devidp.models import DEFAULT_SCOPES, PROFILES, Client, Profile
from arcetri_hub.devidp.provider import Provider
from arcetri_hub.devidp.site import Site
from arcetri_hub.devidp.statefile import StateFile, StateFileError

_BACKLOG: Final = 128


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="A loopback address.")
@click.option("--port", type=click.IntRange(0, 65535), required=True, help="0 takes a free one.")
@click.option(
    "--state",
    "state_path",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="File that keeps users, groups, clients, the key and what was issued.",
)
@click.option(
    "--hub-callback",
    "callbacks",
    multiple=True,
    help="Address the hub is called back at; may be given more than once.",
)
@click.option("--client-id", default="arcetri-hub", show_default=True, help="The hub's client id.")
@click.option(
    "--client-secret-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the hub's client secret; made with a new one if it is missing.",
)
@click.option(
    "--profile",
    type=click.Choice(PROFILES),
    help="Claim profile the hub is registered for; without it, as it was, or iam.",
)
@click.option(
    "--group", "groups", multiple=True, help="A group to make besides the demonstration's."
)
@click.option(
    "--end-session",
    is_flag=True,
    help="Let the hub end a browser's session here (OpenID Connect RP-Initiated Logout), which "
    "INDIGO IAM does not offer.",
)
@click.option(
    "--until-stdin-closes",
    is_flag=True,
    help="Stop when standard input closes, so that nothing outlives who started it.",
)
def main(
    host: str,
    port: int,
    state_path: Path,
    callbacks: tuple[str, ...],
    client_id: str,
    client_secret_file: Path | None,
    profile: Profile | None,
    groups: tuple[str, ...],
    end_session: bool,
    until_stdin_closes: bool,
) -> None:
    """Serve a development IAM on a loopback address.

    Prints one line of JSON when it is ready: issuer, port, pid and client_id.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    if not is_loopback_host(host):
        raise click.ClickException(
            f"the development IAM is for this machine only: {host} is no loopback address."
        )
    for callback in callbacks:
        if not is_loopback_host(urlsplit(callback).hostname or ""):
            raise click.ClickException(
                "the development IAM serves a hub on this machine only: "
                f"{callback} is no loopback address."
            )
    with _listen(host, port) as listener:
        port = listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        try:
            provider = _provider(f"http://{shown}:{port}/", StateFile(state_path))
            for group in groups:
                directory.add_group(provider.state, group)
            _register(provider, client_id, client_secret_file, callbacks, profile)
        except (StateFileError, directory.DirectoryError, OSError) as error:
            raise click.ClickException(str(error)) from error
        server = _server(Site(provider, end_session=end_session))
        if until_stdin_closes:
            threading.Thread(target=_await_stdin, args=(server,), daemon=True).start()
        # The socket listens already: who reads this line can connect
        ready = {"issuer": provider.issuer, "port": port, "pid": os.getpid()}
        click.echo(json.dumps({**ready, "client_id": client_id}))
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise click.ClickException(f"port {port} of {host} cannot be used: {error}.") from error
    return listener


def _provider(issuer: str, file: StateFile) -> Provider:
    return Provider(issuer, state=file.load(int(time.time())), file=file)


def _register(
    provider: Provider,
    client_id: str,
    secret_file: Path | None,
    callbacks: tuple[str, ...],
    profile: Profile | None,
) -> None:
    client = provider.client(client_id)
    if client is None:
        client = Client(
            client_id=client_id,
            secret=secrets.token_urlsafe(32),
            name="Arcetri hub",
            redirect_uris=[],
            scopes=[*DEFAULT_SCOPES, "iam"],
        )
        provider.state.clients = [*provider.state.clients, client]
    if secret_file is not None:
        if not secret_file.exists():
            secret_file.touch(0o600)
            secret_file.write_text(client.secret + "\n", encoding="utf-8")
        client.secret = secret_file.read_text(encoding="utf-8").strip()
        if not client.secret:
            raise click.ClickException(f"{secret_file} is empty: it must hold the client's secret.")
    if callbacks:
        client.redirect_uris = list(callbacks)
        client.post_logout_redirect_uris = [urljoin(callback, "logout") for callback in callbacks]
    if profile is not None:
        client.set_profile(profile)
    provider.save()


def _server(site: Site) -> uvicorn.Server:
    config = uvicorn.Config(
        app.build(site),
        # Requests carry codes: no log of them
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=1,
        lifespan="off",
        # Said, because otherwise what else is installed decides: the agent's httptools.
        http="h11",
        ws="none",
    )
    return uvicorn.Server(config)


def _await_stdin(server: uvicorn.Server) -> None:
    while os.read(0, 4096):
        pass
    server.should_exit = True


if __name__ == "__main__":
    main()
