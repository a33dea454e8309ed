"""The API server, as JSON over one kept client: what its paths answer, and what watches send.

Only here and in the spawner is a Kubernetes client imported. Objects are the API's own JSON: what
decides about them is pure, and needs no models of them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import aiohttp
from kubernetes_asyncio.client import ApiClient, ApiException

from arcetri_accounting.client.keepalive import KEEPALIVE

Object = dict[str, Any]
"""An object of the API, as JSON."""

REQUEST_SECONDS: Final = 15.0
"""For one answer; a list of thousands of pods takes a second or two."""
LATE: Final = 5.0
"""Seconds by which a watch's word may be late: beyond, its server hangs, or is gone."""
_APPLY: Final = {"Content-Type": "application/apply-patch+yaml"}


class ApiAway(Exception):
    """The API server gave no answer, or none that says anything: what is true is not known."""


class ApiRefused(Exception):
    """The API server said no.

    Attributes:
        status: The HTTP status.
        reason: Kubernetes' word for it, such as ``AlreadyExists``.
        message: Its sentence; for operators, since it may name objects of others.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class Expired(Exception):
    """A watch cannot go on from where it was: everything has to be listed again."""


class Api:
    """Asks the API server; one for a process."""

    def __init__(self, client: ApiClient) -> None:
        """Ask over ``client``, which knows where the server is and who asks."""
        self._client = client

    async def get(self, path: str, **query: str | int) -> Object:
        """Read an object or a list.

        Raises:
            ApiAway: No answer came.
            ApiRefused: It cannot be read.
        """
        return await self._ask("GET", path, query=query)

    async def create(self, path: str, body: Object, *, dry_run: bool = False) -> Object:
        """Create an object in the collection at ``path``.

        Args:
            path: Where.
            body: The object.
            dry_run: Only ask whether it would be created.

        Raises:
            ApiAway: No answer came: whether it was created is not known.
            ApiRefused: It was not created.
        """
        query = {"dryRun": "All"} if dry_run else None
        return await self._ask("POST", path, query=query, body=body)

    async def apply(self, path: str, body: Object, *, manager: str) -> Object:
        """Make an object as ``body`` says, or make one; of its fields ``manager`` owns just those.

        Raises as ``create``.
        """
        query = {"fieldManager": manager, "force": "true", "fieldValidation": "Strict"}
        return await self._ask("PATCH", path, query=query, body=body, headers=_APPLY)

    async def delete(self, path: str, *, uid: str = "", grace: int | None = None) -> bool:
        """Delete an object; False where it is not there any more.

        Args:
            path: Where it is.
            uid: Only where it is still this very one.
            grace: Seconds that a pod has to end; its own where absent.

        Raises:
            ApiAway: No answer came.
            ApiRefused: It may not be deleted.
        """
        options: Object = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        try:
            await self._ask("DELETE", path, body=options)
        except ApiRefused as error:
            if error.status == 404 or (uid and error.status == 409):
                return False
            raise
        return True

    async def watch(
        self, path: str, version: str, *, seconds: int, **more: str
    ) -> AsyncIterator[Object]:
        """What happens to the objects of a collection after a version.

        Args:
            path: The collection.
            version: After which.
            seconds: When it ends, in order. That is a sign of life: nothing else can be told from
                a server that hangs, since its kernel answers for it.
            more: A selector of objects.

        Raises:
            Expired: The version is too old.
            ApiAway: The connection broke, or nothing came though it was time for the end.
            ApiRefused: The collection may not be watched.
        """
        query: dict[str, str | int] = {
            **more,
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": seconds,
        }
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=REQUEST_SECONDS, sock_read=seconds + LATE
        )
        try:
            async with await self._send("GET", path, query=query, timeout=timeout) as answer:
                if answer.status >= 400:
                    await _refuse(answer)
                _keep_alive(answer)
                try:
                    async for line in answer.content:
                        event = _json(line)
                        if event.get("type") == "ERROR":
                            _refuse_event(event.get("object", {}))
                        yield event
                finally:
                    _cut(answer)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ApiAway(_words(error)) from error

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Object | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Object:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                answer = await self._send(method, path, query=query, body=body, headers=headers)
                async with answer:
                    if answer.status >= 400:
                        await _refuse(answer)
                    return _json(await answer.read())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ApiAway(_words(error)) from error

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Object | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: aiohttp.ClientTimeout | None = None,  # noqa: ASYNC109 - the client's own, for parts
    ) -> aiohttp.ClientResponse:
        try:
            answer: aiohttp.ClientResponse = await self._client.call_api(
                path,
                method,
                query_params=list((query or {}).items()),
                header_params={"Accept": "application/json", **(headers or {})},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=timeout,
            )
        except ApiException as error:
            raise ApiAway(str(error.reason)) from error
        return answer

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _keep_alive(answer: aiohttp.ClientResponse) -> None:
    """Have the kernel look whether the other end of a long answer is still there."""
    transport = answer.connection.transport if answer.connection is not None else None
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is not None:
        for option in KEEPALIVE:
            sock.setsockopt(*option)


def _cut(answer: aiohttp.ClientResponse) -> None:
    """End the connection of an answer that was not read to its end.

    Else it would be closed by TLS's own farewell, for which nobody waits when the process ends.
    """
    transport = answer.connection.transport if answer.connection is not None else None
    if transport is not None:
        transport.abort()


async def _refuse(answer: aiohttp.ClientResponse) -> None:
    """Raise what an answer of 400 or more says.

    A server that is starting, overloaded or behind a balancer that has lost it says 5xx or 429:
    that is no answer to the question.
    """
    try:
        said = _json(await answer.read())
    except ValueError:
        said = {}
    if answer.status >= 500 or answer.status == 429:
        raise ApiAway(f"it answers {answer.status}")
    _refuse_event({"code": answer.status, **said})


def _refuse_event(said: Object) -> None:
    code = int(said.get("code") or 500)
    if code == 410:
        raise Expired
    if code >= 500:
        raise ApiAway(f"it answers {code}")
    raise ApiRefused(code, str(said.get("reason") or ""), str(said.get("message") or ""))


def _json(text: bytes) -> Object:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("the answer is no object")
    return found


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
