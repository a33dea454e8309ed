"""The endpoints that clients talk to: discovery, keys, tokens, userinfo, introspection."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from arcetri_hub.devidp import claims
from arcetri_hub.devidp.adapters import IamError, ProviderRequest, invalid_token
from arcetri_hub.devidp.faults import DISCOVERY
from arcetri_hub.devidp.keys import public_jwks
from arcetri_hub.devidp.site import Site, read_form

_KEY_CACHE: Final = {"Cache-Control": "max-age=21600, public"}
_FORBIDDEN: Final = """<!doctype html>
<title>HTTP Status 403 - Forbidden</title>
<h1>HTTP Status 403 - Forbidden</h1>
"""


def routes(site: Site) -> list[Route]:
    """The routes of this module."""
    provider = site.provider

    async def discovery(request: Request) -> Response:
        del request
        document = discovery_document(provider.issuer)
        if site.end_session:
            document["end_session_endpoint"] = f"{provider.issuer}logout"
        return JSONResponse(document)

    async def keys(request: Request) -> Response:
        del request
        return JSONResponse(public_jwks(provider.state.key), headers=_KEY_CACHE)

    async def token(request: Request) -> Response:
        response: Response = site.oauth.create_token_response(await _oauth_form(site, request))
        return response

    async def introspect(request: Request) -> Response:
        response: Response = site.oauth.create_endpoint_response(
            "introspection", await _oauth_form(site, request)
        )
        return response

    async def revoke(request: Request) -> Response:
        response: Response = site.oauth.create_endpoint_response(
            "revocation", await _oauth_form(site, request)
        )
        return response

    async def userinfo(request: Request) -> Response:
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        presented = value.strip()
        if scheme.lower() != "bearer" or not presented:
            return _refuse(
                site,
                IamError(
                    401, "unauthorized", "Full authentication is required to access this resource"
                ),
            )
        record = provider.access_token(presented)
        user = provider.user(record.sub) if record else None
        client = provider.client(record.client_id) if record else None
        if record is None or user is None or client is None:
            return _refuse(site, invalid_token("access", presented))
        scopes = record.scope.split()
        if "openid" not in scopes:
            return HTMLResponse(_FORBIDDEN, 403)
        return JSONResponse(claims.userinfo_claims(client.profile, user, scopes, record.claims))

    return [
        Route(DISCOVERY, discovery, methods=["GET"]),
        Route("/jwk", keys, methods=["GET"]),
        Route("/token", token, methods=["POST"]),
        Route("/introspect", introspect, methods=["POST"]),
        Route("/revoke", revoke, methods=["POST"]),
        Route("/userinfo", userinfo, methods=["GET"]),
    ]


def discovery_document(issuer: str) -> dict[str, Any]:
    """What this provider says it can do. It names nothing it cannot, but ``none``, as IAM does."""
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}authorize",
        "token_endpoint": f"{issuer}token",
        "userinfo_endpoint": f"{issuer}userinfo",
        "jwks_uri": f"{issuer}jwk",
        "introspection_endpoint": f"{issuer}introspect",
        "revocation_endpoint": f"{issuer}revoke",
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "subject_types_supported": ["public"],
        "scopes_supported": [
            "openid",
            "profile",
            "email",
            "offline_access",
            "wlcg.groups",
            "eduperson_entitlement",
        ],
        "claims_supported": ["sub", "name", "preferred_username", "email", "groups"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        "code_challenge_methods_supported": ["plain", "S256"],
        "id_token_signing_alg_values_supported": ["RS256", "none"],
        "op_policy_uri": issuer,
    }


def _refuse(site: Site, error: IamError) -> Response:
    return site.oauth.handle_response(*error())


async def _oauth_form(site: Site, request: Request) -> ProviderRequest:
    # Authlib wants a secure URL; the address this process is reached at says nothing about it
    uri = site.provider.issuer.removesuffix("/") + request.url.path
    return ProviderRequest(request.method, uri, request.headers, await read_form(request))
