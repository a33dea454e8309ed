"""Authlib's provider core, bent where IAM differs from the RFCs.

Authlib has the flow: which grant handles a request, in which order things are checked, what a
redirect with an error looks like. This module gives it the provider's state, and IAM's own
status codes and error words.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

# Authlib ships no types: what comes from it is Any, and checked by the tests at the wire
from authlib.common.security import generate_token
from authlib.oauth2.rfc6749 import (
    AuthorizationServer,
    InvalidGrantError,
    InvalidRequestError,
    grants,
)
from authlib.oauth2.rfc6749.util import extract_basic_authorization
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from authlib.oidc.core.grants import OpenIDCode, OpenIDToken
from starlette.responses import JSONResponse, RedirectResponse, Response

from arcetri_hub.devidp.adapters import (
    CodeRecord,
    Headers,
    IamError,
    ProviderRequest,
    RefreshRecord,
    RegisteredClient,
    invalid_token,
)
from arcetri_hub.devidp.models import AccessToken, Code, RefreshToken, User
from arcetri_hub.devidp.provider import Grant, Provider

# Subclassing untyped classes is what Authlib's extension points are:
# mypy: disable-error-code="misc"


class AuthorizationCode(grants.AuthorizationCodeGrant):
    """Login, and redeeming its code."""

    server: IamServer

    def save_authorization_code(self, code: str, request: Any) -> None:
        """Remember what the code stands for."""
        data = request.payload.data
        audience = data.get("aud") or data.get("audience") or data.get("resource")
        grant = Grant(
            user=request.user,
            client=request.client.record,
            scope=request.scope,
            nonce=data.get("nonce"),
            audience=audience,
        )
        self.server.provider.save_code(
            code, grant, data.get("redirect_uri"), data["code_challenge"]
        )

    def generate_authorization_code(self) -> str:
        """A code nobody can guess."""
        return generate_token(32)  # type: ignore[no-any-return]  # Authlib declares no type

    def query_authorization_code(self, code: str, client: RegisteredClient) -> CodeRecord | None:
        """Take the code out of the store, for it is spent whatever follows."""
        record = self.server.provider.take_code(code)
        if record is None:
            return None
        if record.client_id != client.record.client_id:
            raise IamError(401, "invalid_client", "The code belongs to another client")
        return CodeRecord(record)

    def delete_authorization_code(self, authorization_code: CodeRecord) -> None:
        """Nothing left to do: it was taken out when it was looked up."""

    def authenticate_user(self, authorization_code: CodeRecord) -> User | None:
        """Whose code it is. A suspended person's code is redeemed all the same, as in IAM."""
        return self.server.provider.user(authorization_code.record.sub)

    def generate_token(self, user: User, scope: str, **_: Any) -> dict[str, Any]:
        """Make the tokens."""
        record = self.request.authorization_code.record
        return self.server.provider.issue(
            Grant(user, self.client.record, scope, record.nonce, record.audience)
        )


class Refresh(grants.RefreshTokenGrant):
    """A refresh: the only thing that shows a suspension."""

    server: IamServer

    def authenticate_refresh_token(self, refresh_token: str) -> RefreshRecord:
        """Find the token, and refuse it in IAM's words."""
        provider = self.server.provider
        record = provider.refresh_token(refresh_token)
        user = provider.user(record.sub) if record else None
        if record is None or user is None:
            raise invalid_token("refresh", refresh_token)
        if record.client_id != self.client.record.client_id:
            raise IamError(401, "invalid_client", "Client does not own the presented refresh token")
        if not user.active:
            raise IamError(401, "unauthorized", f"User {user.username} is not active")
        if not user.policy_signed:
            raise IamError(
                400, "invalid_grant", f"User {user.username} needs to sign the usage policy"
            )
        return RefreshRecord(refresh_token, record)

    def authenticate_user(self, refresh_token: RefreshRecord) -> User | None:
        """Whose token it is."""
        return self.server.provider.user(refresh_token.record.sub)

    def generate_token(self, user: User, scope: str, **_: Any) -> dict[str, Any]:
        """Make new tokens, and kill the earlier access tokens."""
        presented: RefreshRecord = self.request.refresh_token
        record = presented.record
        grant = Grant(user, self.client.record, scope, record.nonce, record.audience)
        return self.server.provider.issue(grant, refreshed=presented.token)

    def revoke_old_credential(self, refresh_token: RefreshRecord) -> None:
        """Done with the new tokens, if the client's tokens rotate."""


class Pkce(CodeChallenge):
    """PKCE with S256 for everybody, stricter than IAM; IAM's odd answers at the token endpoint."""

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        """Refuse a login without an S256 challenge."""
        data = grant.request.payload.data
        if not data.get("code_challenge") or data.get("code_challenge_method") != "S256":
            raise InvalidRequestError("PKCE with code_challenge_method S256 is required.")
        super().validate_code_challenge(grant, redirect_uri)

    def validate_code_verifier(self, grant: Any, result: Any) -> None:
        """Check the verifier."""
        if not grant.request.form.get("code_verifier"):
            raise IamError(500, "server_error", "Internal error")
        try:
            super().validate_code_verifier(grant, result)
        except InvalidGrantError:
            raise IamError(
                400, "invalid_request", "Code challenge and verifier do not match"
            ) from None


class IdTokenAtLogin(OpenIDCode):
    """Adds IAM's ID token to the answer of a login."""

    def exists_nonce(self, nonce: str, request: Any) -> bool:
        """IAM does not remember nonces: it is the client that must."""
        del nonce, request
        return False

    def encode_id_token(self, token: Mapping[str, Any], request: Any) -> str:
        """Make the ID token; no ``at_hash``, as in IAM's code flow."""
        return _id_token(token, request, request.authorization_code.record)


class IdTokenAtRefresh(OpenIDToken):
    """Adds an ID token, with the nonce of the login, to the answer of a refresh."""

    def encode_id_token(self, token: Mapping[str, Any], request: Any) -> str:
        """Make the ID token."""
        return _id_token(token, request, request.refresh_token.record)


def _id_token(token: Mapping[str, Any], request: Any, record: Code | RefreshToken) -> str:
    client: RegisteredClient = request.client
    grant = Grant(request.user, client.record, token["scope"], record.nonce, record.audience)
    provider: Provider = request.provider
    return provider.id_token(grant)


class Introspection(IntrospectionEndpoint):
    """Any authenticated client may ask about any token."""

    server: IamServer

    def check_params(self, request: Any, client: RegisteredClient) -> None:
        """Only ``token`` matters; hints are ignored."""
        del client
        if "token" not in request.form:
            raise InvalidRequestError("Missing 'token' in request.")

    def check_permission(self, token: Any, client: RegisteredClient, request: Any) -> bool:
        """Always."""
        del token, client, request
        return True

    def query_token(self, token_string: str, token_type_hint: str | None) -> _Introspected | None:
        """Find the token among those that are still good."""
        del token_type_hint
        provider = self.server.provider
        record = provider.access_token(token_string) or provider.refresh_token(token_string)
        return None if record is None else _Introspected(record)

    def introspect_token(self, token: _Introspected) -> dict[str, Any]:
        """What is known of the token. A suspension does not show."""
        provider, record = self.server.provider, token.record
        user = provider.user(record.sub)
        if user is None:
            return {"active": False}
        return {
            "active": True,
            "scope": record.scope,
            "sub": record.sub,
            "user_id": user.username,
            "client_id": record.client_id,
            "iss": provider.issuer,
            "exp": record.expires_at,
            "token_type": "Bearer",
        }


class _Introspected:
    def __init__(self, record: AccessToken | RefreshToken) -> None:
        self.record = record

    def is_expired(self) -> bool:
        return False

    def is_revoked(self) -> bool:
        return False


class Revocation(RevocationEndpoint):
    """A client may revoke its own tokens; unknown ones are no error."""

    server: IamServer

    def check_params(self, request: Any, client: RegisteredClient) -> None:
        """Only ``token`` matters; hints are ignored."""
        del client
        if "token" not in request.form:
            raise InvalidRequestError("Missing 'token' in request.")

    def create_endpoint_response(self, request: Any) -> tuple[int, str, Headers]:
        """Revoke, and answer with nothing."""
        client: RegisteredClient = self.authenticate_endpoint_client(request)
        self.check_params(request, client)
        provider, token = self.server.provider, request.form["token"]
        record = provider.access_token(token) or provider.refresh_token(token)
        if record is not None:
            if record.client_id != client.record.client_id:
                raise IamError(403, "access_denied", "Client does not own the presented token")
            provider.revoke(token)
        return 200, "", [("Cache-Control", "no-store")]


class IamServer(AuthorizationServer):
    """Authlib's server over the provider's state, answering with Starlette's responses."""

    def __init__(self, provider: Provider) -> None:
        super().__init__()
        self.provider = provider
        self.register_grant(AuthorizationCode, [Pkce(required=True), IdTokenAtLogin()])
        self.register_grant(Refresh, [IdTokenAtRefresh()])
        self.register_endpoint(Introspection)
        self.register_endpoint(Revocation)

    def query_client(self, client_id: str) -> RegisteredClient | None:
        """Find a client."""
        record = self.provider.client(client_id)
        return None if record is None else RegisteredClient(record)

    def authenticate_client(
        self, request: Any, methods: Sequence[str], endpoint: str = "token"
    ) -> RegisteredClient:
        """Take the secret from the header or from the form, whichever the client registered.

        A wrong one is ``unauthorized`` in the header and ``invalid_client`` in the form.
        """
        del methods, endpoint
        if request.headers.get("authorization"):
            client = self._check(*_basic(request.headers))
            if client is None:
                raise IamError(401, "unauthorized", "Bad credentials")
            return client
        form = request.form
        if "client_secret" not in form:
            raise IamError(
                401, "unauthorized", "Full authentication is required to access this resource"
            )
        client = self._check(form.get("client_id"), form["client_secret"])
        if client is None:
            raise IamError(401, "invalid_client", "Bad client credentials")
        return client

    def _check(self, client_id: str | None, secret: str | None) -> RegisteredClient | None:
        if client_id is None or secret is None:
            return None
        client = self.query_client(client_id)
        if client is None or not secrets.compare_digest(
            client.record.secret.encode(), secret.encode("utf-8", "surrogatepass")
        ):
            return None
        return client

    def save_token(self, token: Mapping[str, Any], request: Any) -> None:
        """Nothing left to do: tokens are remembered when they are made."""

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""

    def create_oauth2_request(self, request: ProviderRequest) -> ProviderRequest:
        """Requests come ready made."""
        request.provider = self.provider
        return request

    def handle_response(self, status: int, body: Any, headers: Headers) -> Response:
        """Turn Authlib's answer into a response."""
        if 300 <= status < 400:
            location = dict(headers)["Location"]
            return RedirectResponse(location, status, {"Cache-Control": "no-store"})
        plain = {name: value for name, value in headers if name.lower() != "content-type"}
        if body == "":
            return Response(status_code=status, headers=plain)
        return JSONResponse(body, status, plain)


def _basic(headers: Mapping[str, str]) -> tuple[str | None, str | None]:
    try:
        client_id, secret = extract_basic_authorization({"Authorization": headers["authorization"]})
    except ValueError:
        return None, None
    return client_id, secret
