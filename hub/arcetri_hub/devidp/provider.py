"""The provider behind the wire: who is who, what was issued, and what it is worth now.

Nothing here knows HTTP. All calls come from one event loop, so they need no locks.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from arcetri_hub.devidp import claims
from arcetri_hub.devidp.directory import delete_user
from arcetri_hub.devidp.keys import make_key, read_signed, sign
from arcetri_hub.devidp.models import (
    AccessToken,
    BrowserSession,
    Client,
    Code,
    RefreshToken,
    State,
    User,
)
from arcetri_hub.devidp.statefile import StateFile

CODE_LIFETIME = 300
SESSION_LIFETIME = 12 * 3600


def digest(token: str) -> str:
    """The name under which a token is kept."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Grant:
    """What tokens are made from: a redeemed code, or a refresh."""

    user: User
    client: Client
    scope: str
    nonce: str | None
    audience: str | None

    @property
    def scopes(self) -> list[str]:
        """The granted scopes, in the order they were asked for."""
        return self.scope.split()


@dataclass
class Provider:
    """The state, and what can be done with it."""

    issuer: str
    """Always ends in a slash."""
    state: State
    file: StateFile | None = None
    clock: Callable[[], float] = field(default=time.time)

    @property
    def now(self) -> int:
        """Seconds since 1970."""
        return int(self.clock())

    def save(self) -> None:
        """Keep every change made so far."""
        self.state.prune(self.now)
        if self.file is not None:
            self.file.save(self.state)

    def user(self, sub: str) -> User | None:
        """The account with this ``sub``, unless it was deleted."""
        return next((user for user in self.state.users if user.sub == sub), None)

    def client(self, client_id: str) -> Client | None:
        """The client registered under this id."""
        return next((c for c in self.state.clients if c.client_id == client_id), None)

    # Browser sessions

    def check_password(self, username: str, password: str) -> User | None:
        """The person with this name and password, suspended or not."""
        for user in self.state.users:
            if user.username == username and secrets.compare_digest(
                user.password.encode(), password.encode("utf-8", "surrogatepass")
            ):
                return user
        return None

    def open_session(self, user: User) -> str:
        """Log a browser in; returns its cookie."""
        cookie = secrets.token_urlsafe(32)
        self.state.sessions[digest(cookie)] = BrowserSession(
            sub=user.sub, expires_at=self.now + SESSION_LIFETIME
        )
        self.save()
        return cookie

    def session_user(self, cookie: str) -> User | None:
        """Who is logged in with this cookie. A suspension does not end a session, as in IAM."""
        session = self.state.sessions.get(digest(cookie))
        if session is None or session.expires_at <= self.now:
            return None
        return self.user(session.sub)

    def close_session(self, cookie: str) -> None:
        """Log a browser out."""
        self.state.sessions.pop(digest(cookie), None)
        self.save()

    # Tokens

    def own_id_token(self, token: str) -> dict[str, Any] | None:
        """The claims of an ID token of this provider, expired or not; None for anything else."""
        return read_signed(self.state.key, token, self.issuer)

    def save_code(self, code: str, grant: Grant, redirect_uri: str | None, challenge: str) -> None:
        """Remember an authorization code until it is redeemed."""
        self.state.codes[digest(code)] = Code(
            sub=grant.user.sub,
            client_id=grant.client.client_id,
            redirect_uri=redirect_uri,
            scope=grant.scope,
            nonce=grant.nonce,
            audience=grant.audience,
            challenge=challenge,
            expires_at=self.now + CODE_LIFETIME,
        )
        self.save()

    def take_code(self, code: str) -> Code | None:
        """Return and forget an authorization code: whatever comes of it, it is spent."""
        found = self.state.codes.pop(digest(code), None)
        self.save()
        return found if found is not None and found.expires_at > self.now else None

    def refresh_token(self, token: str) -> RefreshToken | None:
        """A refresh token that is still good."""
        found = self.state.refresh_tokens.get(digest(token))
        return found if found is not None and found.expires_at > self.now else None

    def access_token(self, token: str) -> AccessToken | None:
        """An access token that is still good."""
        found = self.state.access_tokens.get(digest(token))
        if found is None or found.expires_at <= self.now or self.user(found.sub) is None:
            return None
        return found

    def issue(self, grant: Grant, *, refreshed: str | None = None) -> dict[str, Any]:
        """Make the answer of the token endpoint, without its ID token.

        Args:
            grant: For whom and for what.
            refreshed: The refresh token that was presented. Its earlier access tokens die.
        """
        refresh = refreshed
        if refreshed is not None:
            self._kill_access_tokens(digest(refreshed))
            if grant.client.rotate_refresh_tokens:
                full = self.state.refresh_tokens.pop(digest(refreshed))
                refresh = self._make_refresh_token(grant, full.scope)
        elif "offline_access" in grant.scopes:
            refresh = self._make_refresh_token(grant, grant.scope)
        answer = {
            "access_token": self._make_access_token(grant, refresh),
            "token_type": "Bearer",
            "expires_in": grant.client.access_lifetime - 1,
            "scope": grant.scope,
        }
        if refresh is not None:
            answer["refresh_token"] = refresh
        self.save()
        return answer

    def id_token(self, grant: Grant) -> str:
        """Make the ID token that goes with an answer."""
        client, user = grant.client, grant.user
        groups = claims.group_claims(client.profile, user.groups, grant.scopes)
        payload = {
            "sub": user.sub,
            "aud": client.client_id,
            "iss": self.issuer,
            "iat": self.now,
            "exp": self.now + client.id_token_lifetime,
            "jti": str(uuid.uuid4()),
            "kid": self.state.key.kid,
            "amr": ["pwd"],
        }
        if grant.nonce is not None:
            payload["nonce"] = grant.nonce
        payload |= claims.id_token_claims(client.profile, user, grant.scopes, groups)
        return sign(self.state.key, payload)

    def revoke(self, token: str) -> None:
        """Revoke a token. With a refresh token die its access tokens; the reverse does not hold."""
        key = digest(token)
        self.state.access_tokens.pop(key, None)
        if self.state.refresh_tokens.pop(key, None) is not None:
            self._kill_access_tokens(key)
        self.save()

    def expire_access_tokens(self, user: User) -> None:
        """Let the hour of all this person's access tokens be over now."""
        tokens = self.state.access_tokens
        self.state.access_tokens = {k: v for k, v in tokens.items() if v.sub != user.sub}
        self.save()

    def delete_user(self, user: User) -> None:
        """Remove an account with all it was issued."""
        delete_user(self.state, user)
        self.save()

    def rotate_key(self, *, keep_kid: bool = False) -> str:
        """Sign with a new key from now on; the old one leaves ``/jwk`` at once.

        Args:
            keep_kid: Give the new key the old one's ``kid``, as a careless operator would.

        Returns:
            The ``kid`` of the new key.
        """
        kid = self.state.key.kid if keep_kid else f"rsa-{secrets.token_hex(4)}"
        self.state.key = make_key(kid)
        self.save()
        return kid

    def _kill_access_tokens(self, refresh_key: str) -> None:
        tokens = self.state.access_tokens
        self.state.access_tokens = {k: v for k, v in tokens.items() if v.refresh != refresh_key}

    def _make_access_token(self, grant: Grant, refresh: str | None) -> str:
        client, now = grant.client, self.now
        copied = (
            {}
            if client.profile == "iam"
            else claims.group_claims(client.profile, grant.user.groups, grant.scopes)
        )
        payload = {
            "sub": grant.user.sub,
            # IAM writes the issuer here as its operator typed it, often without the slash
            "iss": self.issuer.removesuffix("/"),
            "iat": now,
            "exp": now + client.access_lifetime,
            "jti": str(uuid.uuid4()),
            "client_id": client.client_id,
        }
        payload |= claims.access_token_claims(
            client.profile, grant.scopes, copied, grant.audience, now
        )
        token = sign(self.state.key, payload)
        self.state.access_tokens[digest(token)] = AccessToken(
            sub=grant.user.sub,
            client_id=client.client_id,
            scope=grant.scope,
            claims=copied,
            issued_at=now,
            expires_at=now + client.access_lifetime,
            refresh=None if refresh is None else digest(refresh),
        )
        return token

    def _make_refresh_token(self, grant: Grant, scope: str) -> str:
        expires_at = self.now + grant.client.refresh_lifetime
        token = _unsigned_jwt({"exp": expires_at, "jti": str(uuid.uuid4())})
        self.state.refresh_tokens[digest(token)] = RefreshToken(
            sub=grant.user.sub,
            client_id=grant.client.client_id,
            scope=scope,
            nonce=grant.nonce,
            audience=grant.audience,
            expires_at=expires_at,
        )
        return token


def _unsigned_jwt(payload: dict[str, Any]) -> str:
    parts = [{"alg": "none"}, payload]
    return ".".join([*(_base64url(json.dumps(part).encode()) for part in parts), ""])


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
