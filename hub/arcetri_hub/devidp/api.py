"""``/dev/api/``: what the management page can do, as JSON, for tests and scripts.

No credentials are asked for, as on the page. Other web sites are kept out: a request that a
browser sends for one is refused, and so is any body that is not declared JSON.

========================================  ====================================================
``GET /dev/api/state``                    people, groups, clients, faults, traffic; no secrets
``POST /dev/api/users``                   ``{username, password?, display_name?, groups?}``
``PATCH /dev/api/users/NAME``             ``{groups?, active?, policy_signed?, username?}``
``DELETE /dev/api/users/NAME``            delete the account
``POST /dev/api/users/NAME/expire``       let the person's access tokens expire now
``POST /dev/api/clients``                 ``{client_id, redirect_uris, scopes?, profile?}``;
                                          answers with the secret
``PATCH /dev/api/clients/ID``             ``{profile?, consent?, rotate_refresh_tokens?, ...}``
``POST /dev/api/faults``                  a fault, see ``arcetri_hub.devidp.faults.Fault``
``DELETE /dev/api/faults``                behave again
``POST /dev/api/keys``                    ``{keep_kid?}``: sign with a new key
``POST /dev/api/reset``                   the demonstration's people as they were
========================================  ====================================================

``NAME`` is a user name or a ``sub``.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from arcetri_hub.devidp import directory
from arcetri_hub.devidp.badinput import sentences
from arcetri_hub.devidp.directory import DirectoryError
from arcetri_hub.devidp.faults import Fault
from arcetri_hub.devidp.models import DEFAULT_SCOPES, Client, Profile, Seconds, User
from arcetri_hub.devidp.site import Site, is_same_origin

Action = Callable[[Request, Any], Any]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _NewUser(_Body):
    username: str
    password: str = "demo"  # noqa: S105  # demonstration accounts have published passwords
    display_name: str = ""
    groups: list[str] = []


class _UserChange(_Body):
    username: str | None = None
    display_name: str | None = None
    groups: list[str] | None = None
    active: bool | None = None
    policy_signed: bool | None = None


class _NewClient(_Body):
    client_id: str = Field(min_length=1, max_length=128)
    redirect_uris: list[str] = []
    scopes: list[str] = [*DEFAULT_SCOPES]
    profile: Profile | None = None


class _ClientChange(_Body):
    profile: Profile | None = None
    scopes: list[str] | None = None
    consent: bool | None = None
    rotate_refresh_tokens: bool | None = None
    access_lifetime: Seconds | None = None
    id_token_lifetime: Seconds | None = None
    refresh_lifetime: Seconds | None = None


class _NewKey(_Body):
    keep_kid: bool = False


class _Nothing(_Body):
    pass


def routes(site: Site) -> list[Route]:
    """The routes of this module."""
    actions = _Actions(site)

    def route(path: str, method: str, body: type[BaseModel], action: Action) -> Route:
        return Route(f"/dev/api/{path}", _endpoint(body, action), methods=[method])

    return [
        route("state", "GET", _Nothing, actions.state),
        route("users", "POST", _NewUser, actions.add_user),
        route("users/{name}", "PATCH", _UserChange, actions.change_user),
        route("users/{name}", "DELETE", _Nothing, actions.delete_user),
        route("users/{name}/expire", "POST", _Nothing, actions.expire),
        route("clients", "POST", _NewClient, actions.add_client),
        route("clients/{client_id}", "PATCH", _ClientChange, actions.change_client),
        route("faults", "POST", Fault, actions.add_fault),
        route("faults", "DELETE", _Nothing, actions.clear_faults),
        route("keys", "POST", _NewKey, actions.rotate_key),
        route("reset", "POST", _Nothing, actions.reset),
    ]


def _endpoint(body: type[BaseModel], action: Action) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        if not is_same_origin(request.headers):
            return _error(403, "Requests on behalf of another web site are refused.")
        raw = await request.body()
        media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if raw and media_type != "application/json":
            return _error(415, "Send application/json.")
        try:
            parsed = body.model_validate(json.loads(raw) if raw else {})
            return JSONResponse(action(request, parsed))
        except ValidationError as error:
            return _error(422, sentences(error, tuple(body.model_fields)))
        except (ValueError, RecursionError):
            return _error(422, "This is no JSON.")
        except DirectoryError as error:
            return _error(404 if "no user" in str(error) else 409, str(error))

    return endpoint


def _error(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"error": sentence}, status)


class _Actions:
    def __init__(self, site: Site) -> None:
        self.site = site
        self.provider = site.provider

    def state(self, request: Request, body: _Nothing) -> dict[str, Any]:
        del request, body
        state, traffic = self.provider.state, self.site.traffic
        return {
            "issuer": self.provider.issuer,
            "kid": state.key.kid,
            "groups": state.groups,
            "users": [_user(user) for user in state.users],
            "clients": [_client(client) for client in state.clients],
            "faults": [fault.model_dump() for fault in self.site.faults.active],
            "requests": dict(traffic.total),
            "peaks": dict(traffic.peak),
        }

    def add_user(self, request: Request, body: _NewUser) -> dict[str, Any]:
        del request
        user = directory.add_user(
            self.provider.state,
            body.username,
            body.password,
            self.provider.now,
            display_name=body.display_name,
            groups=body.groups,
        )
        self.provider.save()
        return _user(user)

    def change_user(self, request: Request, body: _UserChange) -> dict[str, Any]:
        state, now = self.provider.state, self.provider.now
        user = self._user(request)
        if body.groups is not None:
            directory.set_groups(state, user, body.groups, now)
        if body.username is not None:
            directory.rename_user(state, user, body.username, now)
        if body.display_name is not None:
            user.given_name, _, user.family_name = body.display_name.partition(" ")
        if body.active is not None:
            user.active = body.active
        if body.policy_signed is not None:
            user.policy_signed = body.policy_signed
        self.provider.save()
        return _user(user)

    def delete_user(self, request: Request, body: _Nothing) -> dict[str, Any]:
        del body
        user = self._user(request)
        self.provider.delete_user(user)
        return _user(user)

    def expire(self, request: Request, body: _Nothing) -> dict[str, Any]:
        del body
        user = self._user(request)
        self.provider.expire_access_tokens(user)
        return _user(user)

    def add_client(self, request: Request, body: _NewClient) -> dict[str, Any]:
        del request
        if self.provider.client(body.client_id) is not None:
            raise DirectoryError(f"The client {body.client_id!r} is registered already.")
        client = Client(
            client_id=body.client_id,
            secret=secrets.token_urlsafe(32),
            name=body.client_id,
            redirect_uris=body.redirect_uris,
            scopes=body.scopes,
        )
        if body.profile is not None:
            client.set_profile(body.profile)
        self.provider.state.clients = [*self.provider.state.clients, client]
        self.provider.save()
        return {**_client(client), "client_secret": client.secret}

    def change_client(self, request: Request, body: _ClientChange) -> dict[str, Any]:
        client = self.provider.client(request.path_params["client_id"])
        if client is None:
            raise DirectoryError("There is no user or client of this name.")
        changes = body.model_dump(exclude_none=True, exclude={"profile"})
        for name, value in changes.items():
            setattr(client, name, value)
        if body.profile is not None:
            client.set_profile(body.profile)
        self.provider.save()
        return _client(client)

    def add_fault(self, request: Request, body: Fault) -> dict[str, Any]:
        del request
        self.site.faults.active.append(body)
        return body.model_dump()

    def clear_faults(self, request: Request, body: _Nothing) -> dict[str, Any]:
        del request, body
        self.site.faults.active.clear()
        return {}

    def rotate_key(self, request: Request, body: _NewKey) -> dict[str, Any]:
        del request
        return {"kid": self.provider.rotate_key(keep_kid=body.keep_kid)}

    def reset(self, request: Request, body: _Nothing) -> dict[str, Any]:
        del request, body
        directory.restore_demo(self.provider.state, self.provider.now)
        self.provider.save()
        return {}

    def _user(self, request: Request) -> User:
        return directory.find_user(self.provider.state, request.path_params["name"])


def _user(user: User) -> dict[str, Any]:
    return user.model_dump(exclude={"password", "can"})


def _client(client: Client) -> dict[str, Any]:
    return {**client.model_dump(exclude={"secret"}), "profile": client.profile}
