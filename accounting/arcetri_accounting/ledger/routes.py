"""What writers and monitoring ask: batches, the witness, health, metrics."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

import anyio.to_thread
from anyio import CapacityLimiter
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field, TypeAdapter
from sqlalchemy import select

from arcetri_accounting import killpoints
from arcetri_accounting.contract.lengths import SessionLengths
from arcetri_accounting.contract.usage import Acknowledgement, Batch, record_adapter
from arcetri_accounting.contract.witness import WitnessBatch
from arcetri_accounting.ledger import delivery, ingest, lengths, witness
from arcetri_accounting.ledger.credentials import (
    AgentCredential,
    MetricsCredential,
    WitnessCredential,
)
from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.errors import Forbidden, LedgerError, Refused, TooLarge, Unauthorized
from arcetri_accounting.ledger.limits import Limits
from arcetri_accounting.ledger.metrics import Metrics
from arcetri_accounting.ledger.podwriters import Writers
from arcetri_accounting.ledger.settings import LedgerSettings
from arcetri_accounting.ledger.strangers import recognize
from arcetri_accounting.ledger.times import now_ms

T = TypeVar("T")
C = TypeVar("C", AgentCredential, WitnessCredential)

_WRITERS_AT_ONCE: Final = 8
_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


class Problem(BaseModel):
    """An error."""

    code: str
    """Stable: programs match on it."""
    message: str
    remedy: Annotated[str, Field(description="What to do about it; may be empty.")]


class Health(BaseModel):
    """The ledger answers, and so does its database."""

    status: str = "ok"
    time: Annotated[int, Field(description="Milliseconds since 1970, by the ledger's clock.")]


_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem} for status in (400, 401, 403, 408, 413, 415, 422, 429, 503, 507)
}


_TOKEN = HTTPBearer(
    auto_error=False, scheme_name="Writer", description="The token of an agent or of the spawner."
)
_METRICS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
    401: {"model": Problem},
    403: {"model": Problem},
    429: {"model": Problem},
    503: {"model": Problem},
}


def _body(model: type[BaseModel], **items: TypeAdapter[Any]) -> dict[str, Any]:
    """Describe a body that the route reads by itself, whole where it stands.

    Args:
        model: The body.
        items: What is in those of its lists that are read one by one.
    """
    schema = _inlined(model.model_json_schema())
    for name, adapter in items.items():
        schema["properties"][name]["items"] = _inlined(adapter.json_schema())
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    known = schema.pop("$defs", {})

    def whole(part: Any) -> Any:
        if isinstance(part, list):
            return [whole(one) for one in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            return whole(known[part["$ref"].rpartition("/")[2]])
        # It could only name schemas that stand elsewhere.
        return {name: whole(one) for name, one in part.items() if name != "discriminator"}

    found: dict[str, Any] = whole(schema)
    return found


class Service:
    """What the routes share."""

    def __init__(self, database: Database, settings: LedgerSettings, metrics: Metrics) -> None:
        self.database = database
        self.settings = settings
        self.metrics = metrics
        self.writers = Writers(settings)
        self._limits = Limits(settings.rate, settings.burst)
        self._threads: CapacityLimiter | None = None

    async def write(
        self,
        request: Request,
        role: type[C],
        name: Callable[[Any], str],
        work: Callable[[Any, bytes], Acknowledgement],
    ) -> Acknowledgement:
        """Answer one request of a writer: who it is, how much, what, in this order."""
        path = request.url.path.rpartition("/")[2]
        outcome = "failed"
        try:
            credential = await self._writer(request, role)
            with self._limits.taken(f"{path}:{name(credential)}", time.monotonic()):
                body = await self._read(request)
                begun = time.monotonic()
                answer = await self._in_thread(lambda: work(credential, body))
                self.metrics.seconds.labels(path).observe(time.monotonic() - begun)
            outcome = "stored"
            return answer
        except LedgerError as error:
            outcome = error.code
            raise
        finally:
            self.metrics.requests.labels(path, outcome).inc()

    async def tell_hub(self, request: Request, work: Callable[[], T]) -> T:
        """Answer a question of the hub's, which it asks with the witness's token."""
        credential = await self._writer(request, WitnessCredential)
        path = request.url.path.rpartition("/")[2]
        with self._limits.taken(f"{path}:{credential.writer}", time.monotonic()):
            return await self._in_thread(work)

    async def _writer(self, request: Request, role: type[C]) -> C:
        credential = await self.writers.find(bearer(request))
        if not isinstance(credential, role):
            raise Forbidden(
                f"This token is a {credential.role}'s, and may not do this.",
                code="role_mismatch",
                remedy="Use the token that was made for this.",
            )
        recognize(request)
        return credential

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._threads is None:
            self._threads = CapacityLimiter(_WRITERS_AT_ONCE)
        return await anyio.to_thread.run_sync(work, limiter=self._threads)

    async def _read(self, request: Request) -> bytes:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json" or "content-encoding" in request.headers:
            raise _status(
                Refused("The body must be plain JSON.", code="media_type_unsupported"), 415
            )
        limit = self.settings.max_body
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > limit:
            raise _too_large(limit)
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self.settings.body_seconds):
                async for part in request.stream():
                    size += len(part)
                    if size > limit:
                        raise _too_large(limit)
                    parts.append(part)
        except TimeoutError:
            late = Refused("The body did not arrive in time.", code="body_timeout")
            raise _status(late, 408) from None
        return b"".join(parts)

    # What is done with a body, in a thread

    def batch(self, credential: AgentCredential, body: bytes) -> Acknowledgement:
        """Store an agent's batch."""
        with self.database.turn():
            return self._store(credential, body)

    def _store(self, credential: AgentCredential, body: bytes) -> Acknowledgement:
        delivered = delivery.read(body)
        if delivered.batch.node != credential.node:
            raise Forbidden(
                "This token writes for another node than the batch's.",
                code="node_mismatch",
                remedy="Use the node's own token, or set the agent's node name.",
            )
        site, now = self.settings.site, now_ms()
        stored = self.database.write(lambda session: ingest.store(session, delivered, site, now))
        killpoints.reach("ingest.committed")
        self.metrics.stored(stored)
        return stored.acknowledgement

    def testimony(self, credential: WitnessCredential, body: bytes) -> Acknowledgement:
        """Store a witness's batch."""
        read = witness.read(body)
        if read.writer != credential.writer:
            raise Forbidden(
                "This token is another writer's than the batch's.",
                code="writer_mismatch",
                remedy="Use the writer's own token.",
            )
        return witness.store(self.database, read, now_ms())

    def session_lengths(self, days: int) -> SessionLengths:
        """Tell the hub how long sessions lasted."""
        now = now_ms()
        return self.database.read(lambda session: lengths.read(session, days, now))


def router(service: Service) -> APIRouter:
    """The routes, below the prefix."""
    routes = APIRouter(prefix=service.settings.prefix)

    @routes.post(
        "/api/v1/batches",
        responses=_PROBLEMS,
        openapi_extra=_body(Batch, records=record_adapter),
        dependencies=[Depends(_TOKEN)],
        tags=["writers"],
        summary="Deliver what an agent recorded",
    )
    async def batches(request: Request) -> Acknowledgement:
        return await service.write(request, AgentCredential, lambda one: one.node, service.batch)

    @routes.post(
        "/api/v1/witness",
        responses=_PROBLEMS,
        openapi_extra=_body(WitnessBatch),
        dependencies=[Depends(_TOKEN)],
        tags=["writers"],
        summary="Deliver what the spawner saw",
    )
    async def testimonies(request: Request) -> Acknowledgement:
        return await service.write(
            request, WitnessCredential, lambda one: one.writer, service.testimony
        )

    @routes.get(
        "/api/v1/lengths",
        responses=_PROBLEMS,
        dependencies=[Depends(_TOKEN)],
        tags=["writers"],
        summary="Say how long sessions of the last days lasted, to the spawner: without any name",
    )
    async def session_lengths(
        request: Request, days: Annotated[int, Query(ge=1, le=366)] = 60
    ) -> SessionLengths:
        return await service.tell_hub(request, lambda: service.session_lengths(days))

    @routes.get(
        "/api/v1/health",
        responses={429: {"model": Problem}, 503: {"model": Problem}},
        tags=["monitoring"],
        summary="Say whether the ledger and its database answer",
    )
    def health() -> Health:
        service.database.read(lambda session: session.execute(select(1)).scalar_one())
        return Health(time=now_ms())

    @routes.get(
        "/metrics",
        responses=_METRICS,
        response_class=Response,
        tags=["monitoring"],
        summary="Metrics for Prometheus: to this machine, or with a token of the role metrics",
    )
    def metrics(request: Request) -> Response:
        if not from_this_machine(request) and not isinstance(
            service.writers.file.find(bearer(request)), MetricsCredential
        ):
            raise Forbidden(
                "This token does not read metrics.",
                code="role_mismatch",
                remedy="Use one of the role metrics.",
            )
        content = generate_latest(service.metrics.registry)
        return Response(content, headers={"Content-Type": CONTENT_TYPE_LATEST})

    return routes


def bearer(request: Request) -> str:
    """The request's token.

    Raises:
        Unauthorized: It has none.
    """
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise Unauthorized("This needs a token.", remedy="Send it as Authorization: Bearer TOKEN.")
    return token.strip()


def from_this_machine(request: Request) -> bool:
    """Whether it was sent from here; what a proxy of this machine passed on was not."""
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        f"The body has more than {limit} bytes.", remedy="Send fewer records at a time."
    )


def _status(error: Refused, status: int) -> Refused:
    error.status = status
    return error
