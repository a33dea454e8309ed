"""What every answer has: security headers, and errors as a code, a sentence and a remedy."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from arcetri_accounting.ledger.errors import LedgerError, TooMany, Unauthorized

_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""A route that needs another sets it itself."""

_log = structlog.get_logger("arcetri.ledger")


class SecurityHeaders:
    """Adds to each answer the headers that it does not have."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, add if scope["type"] == "http" else send)


def problem(error: LedgerError) -> JSONResponse:
    """An error as an answer."""
    headers = {}
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, TooMany):
        headers["Retry-After"] = str(error.wait)
    elif error.status in (503, 507):
        headers["Retry-After"] = "5"
    content = {"code": error.code, "message": error.message, "remedy": error.remedy}
    return JSONResponse(content, status_code=error.status, headers=headers)


def refused(error: HTTPException) -> JSONResponse:
    """What the framework refuses, such as a path that is not there, as an answer."""
    code = HTTPStatus(error.status_code).name.lower()
    answer = _plain(error.status_code, code, f"{error.detail}.")
    answer.headers.update(error.headers or {})
    return answer


def wants_page(request: HTTPConnection) -> bool:
    """True where a browser asks for what it will show as a page."""
    return "text/html" in request.headers.get("accept", "")


def answer_errors(app: FastAPI) -> None:
    """Let an application answer each error as a problem, and never with a traceback."""

    @app.exception_handler(LedgerError)
    async def expected(request: Request, error: LedgerError) -> JSONResponse:
        if error.status >= 500:
            _log.warning("request_failed", path=request.url.path, code=error.code, why=str(error))
        return problem(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        del request
        first: dict[str, Any] = dict(error.errors()[0])
        where = ".".join(str(part) for part in first["loc"])
        return _plain(422, "request_invalid", f"{where}: {first['msg']}.")

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        del request
        return refused(error)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        _log.error("request_broke", path=request.url.path, exc_info=error)
        return _plain(
            500,
            "internal_error",
            "The ledger made a mistake of its own.",
            "Its log has the details; nothing of the request was stored.",
        )


def _plain(status: int, code: str, message: str, remedy: str = "") -> JSONResponse:
    return JSONResponse({"code": code, "message": message, "remedy": remedy}, status_code=status)
