"""ID tokens: only RS256, only with a key the issuer publishes now."""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import jwt

_ALGORITHM = "RS256"
_LEEWAY = 60
_KEYS_LAST = 6 * 3600.0


class IdTokenError(Exception):
    """An ID token is not what it should be; ``code`` is one word that may be logged."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class KeyRing:
    """The issuer's public keys, and ID tokens checked against them.

    Keys are kept for six hours. A token signed with a key that is not among them, or under a
    known ``kid`` with another key, makes the ring ask once more: that is how an issuer rotates.
    Tokens come from the token endpoint only, so nobody else can cause that asking.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Mapping[str, Any]]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create an empty ring; ``fetch`` returns a JWK set or raises what callers then see."""
        self._fetch = fetch
        self._clock = clock
        self._keys: list[jwt.PyJWK] = []
        self._until = float("-inf")

    async def verify(
        self, token: str, *, issuer: str, client_id: str, nonce: str | None = None
    ) -> Mapping[str, Any]:
        """Return the claims of a good token.

        Args:
            token: The ID token.
            issuer: The issuer exactly as its discovery document says it.
            client_id: Whom the token must be for.
            nonce: What the login sent; None checks no nonce (a refresh has none of its own).

        Raises:
            IdTokenError: Forged, expired, for somebody else, or not answering this login.
        """
        kid = _kid(token)
        fresh = self._clock() >= self._until
        if fresh:
            await self._renew()
        try:
            claims = self._decode(token, kid, issuer, client_id)
        except IdTokenError as error:
            if fresh or error.code not in ("unknown_key", "bad_signature"):
                raise
            await self._renew()
            claims = self._decode(token, kid, issuer, client_id)
        _check_party(claims, client_id)
        if nonce is not None and not _same(claims.get("nonce"), nonce):
            raise IdTokenError("wrong_nonce")
        return claims

    async def _renew(self) -> None:
        keys: list[jwt.PyJWK] = []
        for entry in _entries(await self._fetch()):
            try:
                keys.append(jwt.PyJWK(entry, algorithm=_ALGORITHM))
            except (jwt.PyJWTError, ValueError, TypeError, KeyError):
                # A key of a kind we do not know, or no key at all, is no reason to lose the rest.
                continue
        self._keys = keys
        self._until = self._clock() + _KEYS_LAST

    def _decode(
        self, token: str, kid: str | None, issuer: str, client_id: str
    ) -> Mapping[str, Any]:
        fitting = [key for key in self._keys if kid is None or key.key_id == kid]
        if len(fitting) != 1:
            raise IdTokenError("unknown_key")
        try:
            return jwt.decode(
                token,
                fitting[0],
                algorithms=[_ALGORITHM],
                audience=client_id,
                issuer=issuer,
                leeway=_LEEWAY,
                options={"require": ["sub", "iss", "aud", "exp", "iat"]},
            )
        except jwt.PyJWTError as error:
            raise IdTokenError(_word(error)) from None


def _kid(token: str) -> str | None:
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise IdTokenError("malformed") from None
    if header.get("alg") != _ALGORITHM:
        raise IdTokenError("wrong_algorithm")
    kid = header.get("kid")
    return kid if isinstance(kid, str) else None


def _entries(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    keys = document.get("keys")
    return [
        key
        for key in (keys if isinstance(keys, list) else [])
        if isinstance(key, dict) and key.get("kty") == "RSA" and key.get("use", "sig") == "sig"
    ]


def _check_party(claims: Mapping[str, Any], client_id: str) -> None:
    audience = claims["aud"]
    party = claims.get("azp")
    if isinstance(audience, list) and len(audience) > 1 and party is None:
        raise IdTokenError("wrong_audience")
    if party is not None and party != client_id:
        raise IdTokenError("wrong_audience")


def _same(given: object, expected: str) -> bool:
    return isinstance(given, str) and hmac.compare_digest(given.encode(), expected.encode())


def _word(error: jwt.PyJWTError) -> str:
    match error:
        case jwt.ExpiredSignatureError():
            return "expired"
        case jwt.InvalidAudienceError():
            return "wrong_audience"
        case jwt.InvalidIssuerError():
            return "wrong_issuer"
        case jwt.InvalidSignatureError():
            return "bad_signature"
        case jwt.MissingRequiredClaimError():
            return "missing_claim"
    return "malformed"
