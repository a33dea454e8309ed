"""The application: everything put together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from arcetri_hub.devidp import api, login, manage, wire
from arcetri_hub.devidp.guard import Guard
from arcetri_hub.devidp.site import HERE, Site

Endpoint = Callable[[Request], Awaitable[Response]]


def build(site: Site) -> Starlette:
    """Return the ASGI application of one development IAM."""

    async def healthz(request: Request) -> Response:
        del request
        return JSONResponse({"status": "ok", "issuer": site.provider.issuer})

    return Starlette(
        routes=[
            Route("/healthz", healthz, methods=["GET"]),
            *wire.routes(site),
            *login.routes(site),
            *manage.routes(site),
            *api.routes(site),
            Mount("/static", StaticFiles(directory=HERE / "static")),
        ],
        middleware=[
            Middleware(Guard, faults=site.faults, traffic=site.traffic, policy=site.policy)
        ],
    )
