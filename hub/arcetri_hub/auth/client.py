"""What the hub asks of IAM: discovery, keys, tokens, and who somebody is.

The client keeps no cookies: IAM takes a cookie for a login, and would then answer a request
without a token as whoever asked before.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from tornado.httpclient import HTTPRequest

from arcetri_hub.auth.answers import (
    Answer,
    AnswerKind,
    Reply,
    classify_code,
    classify_document,
    classify_refresh,
    classify_userinfo,
)
from arcetri_hub.auth.discovery import DiscoveryError, Provider, discovery_url, read_discovery
from arcetri_hub.auth.idtoken import KeyRing

Send = Callable[[HTTPRequest], Awaitable[Reply]]


class IamSilentError(Exception):
    """IAM gave no usable answer; ``code`` is one word that may be logged."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(detail or code)
        self.code = code
        self.detail = detail
        """A sentence for the operator, when there is more to say than the code."""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Who the hub is to IAM."""

    issuer: str
    client_id: str
    client_secret: Callable[[], str] = field(repr=False)
    """Asked at each use, so that a new secret needs no restart; empty for a public client."""
    basic: bool = True
    """Whether the secret goes into the Authorization header, or into the form."""
    timeout: float = 10.0
    """Seconds for one answer."""


class IamClient:
    """Asks one issuer. Answers are understood by ``answers.py``; nothing here logs."""

    def __init__(self, settings: ClientSettings, send: Send) -> None:
        self.settings = settings
        self._send = send
        self._provider: Provider | None = None
        self._finding = asyncio.Lock()
        self.keys = KeyRing(self._jwks)

    @property
    def provider(self) -> Provider | None:
        """The issuer's endpoints, None while they were never found."""
        return self._provider

    async def find(self) -> Provider:
        """Return the endpoints, asking for them when they are not known yet.

        Raises:
            IamSilentError: They are not known, and IAM gives no usable answer.
        """
        if self._provider is None:
            await self.discover()
        if self._provider is None:  # pragma: no cover  # discover() raises instead
            raise IamSilentError("no_answer")
        return self._provider

    async def discover(self) -> None:
        """Ask for the endpoints anew; the old ones stay when that fails.

        Raises:
            IamSilentError: IAM gives no usable answer.
        """
        before = self._provider
        async with self._finding:
            if self._provider is not before:
                return
            url = discovery_url(self.settings.issuer)
            answer = classify_document(await self._get(url))
            if answer.kind is not AnswerKind.ADMITTED:
                raise IamSilentError(answer.code)
            try:
                self._provider = read_discovery(answer.fields, self.settings.issuer)
            except DiscoveryError as error:
                raise IamSilentError("bad_discovery", str(error)) from None

    async def exchange(self, code: str, verifier: str, redirect_uri: str) -> Answer:
        """Redeem a login's code.

        Raises:
            IamSilentError: The endpoints are not known.
        """
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": verifier,
            "redirect_uri": redirect_uri,
        }
        return classify_code(await self._token(form))

    async def refresh(self, refresh_token: str) -> Answer:
        """Exchange a refresh token for new tokens; kills the access tokens it gave before.

        Raises:
            IamSilentError: The endpoints are not known.
        """
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return classify_refresh(await self._token(form))

    async def userinfo(self, access_token: str) -> Answer:
        """Ask whose token this is, and their groups.

        Raises:
            IamSilentError: The endpoints are not known.
        """
        url = (await self.find()).userinfo_endpoint
        return classify_userinfo(
            await self._get(url, headers={"Authorization": f"Bearer {access_token}"})
        )

    async def id_claims(self, id_token: str, *, nonce: str | None = None) -> Mapping[str, Any]:
        """Return the claims of a good ID token.

        Raises:
            IamSilentError: The keys or endpoints are not known and cannot be had.
            IdTokenError: The token is not good.
        """
        provider = await self.find()
        return await self.keys.verify(
            id_token, issuer=provider.issuer, client_id=self.settings.client_id, nonce=nonce
        )

    async def _jwks(self) -> Mapping[str, Any]:
        answer = classify_document(await self._get((await self.find()).jwks_uri))
        if answer.kind is not AnswerKind.ADMITTED:
            raise IamSilentError(answer.code)
        return answer.fields

    async def _token(self, form: dict[str, str]) -> Reply:
        url = (await self.find()).token_endpoint
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        secret = self.settings.client_secret()
        if secret and self.settings.basic:
            # RFC 6749, 2.3.1: both halves are form-encoded before they are joined.
            pair = f"{quote(self.settings.client_id, safe='')}:{quote(secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form = {**form, "client_id": self.settings.client_id}
            if secret:
                form["client_secret"] = secret
        return await self._send(
            self._request(url, method="POST", headers=headers, body=urlencode(form))
        )

    async def _get(self, url: str, headers: Mapping[str, str] | None = None) -> Reply:
        return await self._send(self._request(url, headers=dict(headers or {})))

    def _request(self, url: str, *, headers: dict[str, str], **kwargs: Any) -> HTTPRequest:
        timeout = self.settings.timeout
        return HTTPRequest(
            url,
            headers={"Accept": "application/json", **headers},
            connect_timeout=min(timeout, 5.0),
            request_timeout=timeout,
            # A redirect could carry a token to somewhere else.
            follow_redirects=False,
            **kwargs,
        )
