"""Who sends a projected service-account token, as the cluster's API server says.

A component asks this of whoever calls it: the ledger of its agents, the provisioner of the hub. A
token counts only for the audience it was made for, so that one for another component is refused
here, and one for here opens nothing else.

What the API server has said of a token is remembered for a short while, by the token's digest, and
never beyond its expiry. What cannot be a token for this audience is not even asked for: strangers
cannot make the API server work.
"""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import httpx

from arcetri_accounting.client.apiserver import ApiServer

PATH: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
KEPT_S: Final = 60.0
"""How long a yes holds: a pod that is deleted meanwhile is believed for so long."""
KEPT_NO_S: Final = 10.0
"""How long a no holds."""
TIMEOUT_S: Final = 5.0
MAX_TOKEN: Final = 16_384
"""Characters; those that the API server makes have about a thousand."""
MAX_KEPT: Final = 10_000

_ACCOUNT: Final = "system:serviceaccount:"
_EXTRA: Final = "authentication.kubernetes.io/"


class TokenRefused(Exception):
    """The token is nobody's, has ended, or is for another audience."""


class ReviewAway(Exception):
    """The API server gives no answer, or none of use: whose token it is is not known now."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a token."""

    namespace: str
    account: str
    """The service account's name."""
    node: str = ""
    """The node of the pod that the token was made for; empty where it was made for none."""
    pod: str = ""
    pod_uid: str = ""

    @property
    def name(self) -> str:
        """``NAMESPACE:ACCOUNT``, as settings name who may do something."""
        return f"{self.namespace}:{self.account}"


class TokenReviewer:
    """Asks the API server, and remembers. Any thread may use it; a call may wait for an answer."""

    def __init__(
        self,
        audience: str,
        server: ApiServer,
        *,
        kept_s: float = KEPT_S,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Accept tokens for an audience.

        Args:
            audience: Whom tokens must have been made for, such as ``arcetri-ledger``.
            server: Where to ask. Its account may create ``tokenreviews``, as the cluster role
                ``system:auth-delegator`` lets it.
            kept_s: How long a yes holds.
            timeout_s: How long to wait for an answer.
            clock: Seconds since 1970; tokens say by it when they end.
        """
        self._audience = audience
        self._server = server
        self._kept_s = kept_s
        self._timeout_s = timeout_s
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[bytes, tuple[float, Caller | None]] = {}
        """By the token's digest: until when it holds, and who it is, or None for nobody."""
        self._client: httpx.Client | None = None
        self._trusted: tuple[int, ...] = ()
        """Which file of authorities the client was made with."""

    def review(self, token: str) -> Caller:
        """Say whose token it is.

        Raises:
            TokenRefused: Nobody's, or for another audience.
            ReviewAway: It is not known now.
        """
        ends = _ends(token, self._audience)
        digest = hashlib.sha256(token.encode()).digest()
        found = self._remembered(digest)
        if found is None:
            caller = self._ask(token)
            kept = KEPT_NO_S if caller is None else self._kept_s
            found = min(self._clock() + kept, ends), caller
            self._remember(digest, found)
        if found[1] is None:
            raise TokenRefused("the API server does not accept the token for this audience")
        return found[1]

    def knows(self, token: str) -> bool:
        """Whether it was found to be somebody's a moment ago; asks nobody."""
        found = self._remembered(hashlib.sha256(token.encode()).digest())
        return found is not None and found[1] is not None

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None

    def _remembered(self, digest: bytes) -> tuple[float, Caller | None] | None:
        with self._lock:
            found = self._known.get(digest)
            if found is not None and found[0] <= self._clock():
                del self._known[digest]
                return None
            return found

    def _remember(self, digest: bytes, found: tuple[float, Caller | None]) -> None:
        with self._lock:
            if len(self._known) >= MAX_KEPT:
                now = self._clock()
                kept = [one for one in self._known.items() if one[1][0] > now]
                self._known = dict(kept[-MAX_KEPT // 2 :])
            self._known[digest] = found

    def _ask(self, token: str) -> Caller | None:
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [self._audience]},
        }
        try:
            answer = self._connected().post(
                PATH,
                json=body,
                headers={"Authorization": f"Bearer {self._server.token()}"},
            )
        except (httpx.HTTPError, OSError) as error:
            raise ReviewAway(f"the API server gives no answer: {type(error).__name__}") from error
        if answer.status_code in (401, 403):
            raise ReviewAway(
                "the API server does not let this service review tokens: bind its account to the"
                " cluster role system:auth-delegator"
            )
        if answer.status_code not in (200, 201):
            raise ReviewAway(f"the API server answers {answer.status_code}")
        try:
            status = answer.json()["status"]
        except (ValueError, KeyError, TypeError) as error:
            raise ReviewAway("the API server's answer is no review of a token") from error
        return caller_of(status, self._audience)

    def _connected(self) -> httpx.Client:
        found = self._server.ca_file.stat()
        trusted = (found.st_ino, found.st_mtime_ns, found.st_size)
        with self._lock:
            if self._client is None or trusted != self._trusted:
                # One that another thread still uses is closed once it lets go of it.
                context = ssl.create_default_context(cafile=str(self._server.ca_file))
                self._client = httpx.Client(
                    base_url=self._server.url,
                    verify=context,
                    timeout=self._timeout_s,
                    trust_env=False,
                )
                self._trusted = trusted
            return self._client


def caller_of(status: dict[str, Any], audience: str) -> Caller | None:
    """Read the status of a TokenReview; None where it says that it is nobody for this audience."""
    user = status.get("user") or {}
    name = str(user.get("username") or "")
    # A server that knows nothing of audiences says of none that the token is for it.
    if status.get("authenticated") is not True or audience not in (status.get("audiences") or ()):
        return None
    if not name.startswith(_ACCOUNT):
        return None
    namespace, _, account = name.removeprefix(_ACCOUNT).partition(":")
    extra = user.get("extra") or {}

    def said(key: str) -> str:
        values = extra.get(f"{_EXTRA}{key}") or ("",)
        return str(values[0])

    return Caller(namespace, account, said("node-name"), said("pod-name"), said("pod-uid"))


def _ends(token: str, audience: str) -> float:
    """When a token says that it ends; only the API server can say whether it is a true one.

    Raises:
        TokenRefused: It is none for this audience, whoever may have made it.
    """
    parts = token.split(".")
    try:
        if len(token) > MAX_TOKEN or len(parts) != 3:
            raise ValueError
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        audiences, ends = claims["aud"], float(claims["exp"])
    except (ValueError, KeyError, TypeError):
        raise TokenRefused("this is no service account's token") from None
    if audience not in (audiences if isinstance(audiences, list) else [audiences]):
        raise TokenRefused("the token is for another audience")
    return ends
