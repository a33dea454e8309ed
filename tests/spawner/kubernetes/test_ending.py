"""Watches that end with their program leave no connection to whoever comes after."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import socket
import ssl
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from kubernetes.aio import client
from kubernetes_asyncio.client import ApiClient, Configuration

from arcetri_spawner.backends.kubernetes.api import Api
from arcetri_spawner.backends.kubernetes.mirror import Mirror
from kueue_client import AsyncKueue
from tests.cluster import pki

HEADERS = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
LIST = json.dumps({"metadata": {"resourceVersion": "1"}, "items": []})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path, threading.Event]]:
    """A server that lists nothing, lets a watch stand, and never answers TLS's farewell.

    Its address, its certificate's authority, and what is set once a watch stands.
    """
    pki.write(tmp_path / "pki")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "pki/apiserver.crt", tmp_path / "pki/apiserver.key")
    stands, over = threading.Event(), threading.Event()

    def serve(plain: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            plain,
            context.wrap_socket(plain, server_side=True) as connection,
        ):
            while b"watch=true" not in connection.recv(65536):
                said = f"{HEADERS}Content-Length: {len(LIST)}\r\n\r\n{LIST}"
                connection.sendall(said.encode())
            connection.sendall(f"{HEADERS}Transfer-Encoding: chunked\r\n\r\n".encode())
            stands.set()
            over.wait(60)

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    plain, _ = listener.accept()
                    threading.Thread(target=serve, args=(plain,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        port = listener.getsockname()[1]
        yield f"https://127.0.0.1:{port}", tmp_path / "pki/ca.crt", stands
        over.set()
        listener.shutdown(socket.SHUT_RDWR)


async def copies(url: str, authority: Path, stands: threading.Event) -> None:
    """What the hub watches nodes and pods with."""
    configuration = Configuration(host=url)
    configuration.ssl_ca_cert = str(authority)
    api = Api(ApiClient(configuration))
    copy = Mirror(api, "/api/v1/pods", lambda _before, _after: None)
    await ended(copy.run(), stands)
    await api.close()


async def queues(url: str, authority: Path, stands: threading.Event) -> None:
    """What it watches Kueue with."""
    configuration = client.Configuration(host=url)
    configuration.ssl_ca_cert = str(authority)
    async with AsyncKueue(client.ApiClient(configuration)) as kueue:

        async def follow() -> None:
            async for _ in kueue.local_queues.watch("n"):
                pass

        await ended(follow(), stands)


async def ended(work: Awaitable[None], stands: threading.Event) -> None:
    task = asyncio.ensure_future(work)
    async with asyncio.timeout(20):
        while not stands.is_set():
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)  # what it answered was read
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("watched", [copies, queues])
def test_no_connection_is_left_to_the_collector(
    server: tuple[str, Path, threading.Event], watched: Callable[..., Awaitable[None]]
) -> None:
    async def program() -> None:
        await watched(*server)

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        asyncio.run(program())
        gc.collect()
    left = [str(one.message) for one in said if issubclass(one.category, ResourceWarning)]
    assert left == []
