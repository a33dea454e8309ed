"""The service: who may ask, and what they are answered."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, Protocol, TypeVar

import structlog
from anyio import CapacityLimiter, to_thread
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from arcetri_accounting.client.tokenreview import Caller, ReviewAway, TokenRefused
from arcetri_spawner.errors import BackendError
from arcetri_spawner.policy.names import shown
from arcetri_spawner.provisioner.contract import (
    FOLDERS,
    HEALTH,
    SPACE,
    FoldersRequest,
    Refusal,
    SpaceRequest,
)
from arcetri_spawner.provisioner.work import Claims

log = structlog.get_logger(__name__)

BIGGEST: Final = 256 * 1024
"""Bytes of a request."""

Asked = TypeVar("Asked", bound=BaseModel)


class Reviewer(Protocol):
    """Says whose token it is."""

    def review(self, token: str) -> Caller:
        """Raises ``TokenRefused`` where it is nobody's, ``ReviewAway`` where that is not known."""
        ...


class _Refused(Exception):
    """A request that is not served."""

    def __init__(self, status: int, code: str, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.refusal = Refusal(code=code, message=message, remedy=remedy)


class Provisioner:
    """The provisioner over HTTP.

    Args:
        claims: What it works on.
        reviewer: Who knows tokens.
        accounts: The service accounts that may ask, such as ``arcetri:arcetri-hub``.
    """

    def __init__(self, claims: Claims, reviewer: Reviewer, accounts: Collection[str]) -> None:
        self._claims = claims
        self._reviewer = reviewer
        self._accounts = frozenset(accounts)
        # Apart, so that storage that hangs never keeps a token from being looked at.
        self._reviews = CapacityLimiter(8)
        self._works = CapacityLimiter(64)

    def app(self) -> Starlette:
        """The ASGI application."""
        routes = [
            Route(FOLDERS, self.folders, methods=["POST"]),
            Route(SPACE, self.space, methods=["POST"]),
            Route(HEALTH, self.health),
        ]
        handlers: Mapping[Any, Any] = {
            _Refused: _refused,
            BackendError: _failed,
            404: _unknown,
            405: _unknown,
            Exception: _broke,
        }
        return Starlette(routes=routes, exception_handlers=handlers)

    async def health(self, request: Request) -> Response:
        """Answer that the process lives; no file system is touched."""
        del request
        return JSONResponse({"status": "ok"})

    async def folders(self, request: Request) -> Response:
        """Make folders."""
        asked = await self._read(request, FoldersRequest)
        report = await to_thread.run_sync(self._claims.make, asked, limiter=self._works)
        return JSONResponse(report.model_dump(mode="json"))

    async def space(self, request: Request) -> Response:
        """Say how much room there is."""
        asked = await self._read(request, SpaceRequest)
        report = await to_thread.run_sync(self._claims.space, asked, limiter=self._works)
        return JSONResponse(report.model_dump(mode="json"))

    async def _read(self, request: Request, kind: type[Asked]) -> Asked:
        # Who asks is looked at before anything of what they say.
        await self._admit(request)
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > BIGGEST:
                raise _Refused(413, "too_large", f"A request has at most {BIGGEST} bytes.")
        try:
            return kind.model_validate_json(bytes(body))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the request"
            raise _Refused(
                422, "request_invalid", shown(f"{where}: {first['msg']}.", 500)
            ) from None

    async def _admit(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise _Refused(401, "unauthorized", "A service account's token is needed.")
        try:
            caller = await to_thread.run_sync(
                self._reviewer.review, token.strip(), limiter=self._reviews
            )
        except TokenRefused as error:
            raise _Refused(401, "unauthorized", f"Not served: {error}.") from None
        except ReviewAway as error:
            log.warning("token not reviewed", why=str(error))
            raise _Refused(
                503,
                "review_unavailable",
                "The provisioner cannot ask the API server who you are.",
                "Look whether its service account may create TokenReviews.",
            ) from None
        if caller.name not in self._accounts:
            log.warning("refused", account=shown(caller.name, 300))
            raise _Refused(403, "not_the_hub", "Only the hub may ask the provisioner.")


def _answer(status: int, refusal: Refusal) -> JSONResponse:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse(refusal.model_dump(mode="json"), status_code=status, headers=headers)


async def _refused(request: Request, error: _Refused) -> Response:
    del request
    return _answer(error.status, error.refusal)


async def _failed(request: Request, error: BackendError) -> Response:
    del request
    details = getattr(error, "details", "")
    log.warning("folders not made", code=error.code, why=error.message, details=details)
    said = Refusal(code=error.code, message=error.message, remedy=error.remedy, details=details)
    return _answer(503 if error.status == 503 else 409, said)


async def _unknown(request: Request, error: Exception) -> Response:
    del request
    status = getattr(error, "status_code", 404)
    return _answer(status, Refusal(code="unknown", message="There is nothing here."))


async def _broke(request: Request, error: Exception) -> Response:
    log.error("request broke", path=request.url.path, exc_info=error)
    return _answer(
        500,
        Refusal(
            code="internal_error",
            message="The provisioner made a mistake of its own.",
            remedy="Its log has the details.",
        ),
    )
