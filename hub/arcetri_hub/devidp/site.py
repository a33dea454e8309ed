"""What the pages share: templates, the form token, cookies, and reading a form."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from arcetri_hub.devidp.faults import Faults, Traffic
from arcetri_hub.devidp.guard import origin_of
from arcetri_hub.devidp.models import User
from arcetri_hub.devidp.oauth import IamServer
from arcetri_hub.devidp.provider import SESSION_LIFETIME, Provider

HERE: Final = Path(__file__).parent
COOKIE: Final = "arcetri-development-iam"
_COOKIE_PATHS: Final = ("/authorize", "/login", "/logout")
"""Cookies know no ports: on a wider path, the hub and every notebook would be sent it too."""
_MAX_FIELDS: Final = 2000

Pairs = list[tuple[str, str]]


@dataclass
class Site:
    """One running development IAM."""

    provider: Provider
    faults: Faults = field(default_factory=Faults)
    traffic: Traffic = field(default_factory=Traffic)
    end_session: bool = False
    """Whether a client may end a browser's session here, which INDIGO IAM does not offer."""

    @cached_property
    def oauth(self) -> IamServer:
        """The protocol."""
        return IamServer(self.provider)

    @cached_property
    def _templates(self) -> Environment:
        return Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def policy(self) -> str:
        """The content security policy. Forms may end at the clients' addresses, by redirect."""
        clients = self.provider.state.clients
        origins = sorted({origin_of(uri) for client in clients for uri in client.redirect_uris})
        return "; ".join(
            [
                "default-src 'none'",
                "style-src 'self'",
                "img-src 'self'",
                " ".join(["form-action 'self'", *origins]),
                "base-uri 'none'",
                "frame-ancestors 'none'",
            ]
        )

    def page(self, name: str, status: int = 200, **values: Any) -> HTMLResponse:
        """Render a template."""
        template = self._templates.get_template(name)
        token = self.provider.state.form_token
        return HTMLResponse(template.render(form_token=token, **values), status)

    def problem(self, status: int, title: str, sentence: str) -> HTMLResponse:
        """A page that says what is wrong."""
        return self.page("problem.html", status, title=title, sentence=sentence)

    def user_of(self, request: Request) -> User | None:
        """Who is logged in in this browser."""
        return self.provider.session_user(request.cookies.get(COOKIE, ""))

    def log_in(self, response: Response, user: User) -> None:
        """Let the browser of this response be the user's."""
        cookie = self.provider.open_session(user)
        for path in _COOKIE_PATHS:
            response.set_cookie(
                COOKIE, cookie, SESSION_LIFETIME, path=path, httponly=True, samesite="lax"
            )

    def log_out(self, request: Request, response: Response) -> None:
        """Forget the browser's user."""
        self.provider.close_session(request.cookies.get(COOKIE, ""))
        for path in _COOKIE_PATHS:
            response.delete_cookie(COOKIE, path=path, httponly=True, samesite="lax")

    def from_own_page(self, request: Request, pairs: Pairs) -> bool:
        """Whether a form was sent by a page of this site, not by another one."""
        sent = dict(pairs).get("form_token", "").encode("utf-8", "surrogatepass")
        expected = self.provider.state.form_token.encode()
        return secrets.compare_digest(sent, expected) and is_same_origin(request.headers)


def is_same_origin(headers: Headers | Mapping[str, str]) -> bool:
    """Whether the browser, if it is one, says that the request comes from this site."""
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{headers.get('host', '')}":
        return False
    return headers.get("sec-fetch-site", "none") in ("none", "same-origin")


async def read_form(request: Request) -> Pairs:
    """The fields of a form, in the order sent; empty for anything but a plain form."""
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type != "application/x-www-form-urlencoded":
        return []
    body = await request.body()
    try:
        text = body.decode("utf-8")
        return parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        return []


def read_query(request: Request) -> Pairs:
    """The parameters of the query, in the order sent."""
    try:
        return parse_qsl(request.url.query, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        return []
