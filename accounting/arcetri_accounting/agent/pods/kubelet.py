"""Asks the kubelet's PodResources, by gRPC over its socket, in a thread of its own.

A call of it is one HTTP/2 request with a frame of five bytes before the message; the HTTP client
that the project has anyway does that. The usual gRPC library would take three times the memory.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx
import structlog
from google.protobuf.message import DecodeError

from arcetri_accounting.agent.clock import Clock
from arcetri_accounting.agent.figures import Figures
from arcetri_accounting.agent.pods.devices import (
    Assigned,
    Listing,
    PodEntry,
    replicas_of,
    uncounted,
)
from arcetri_accounting.agent.pods.messages import SERVICE, message

log = structlog.get_logger(__name__)

TIMEOUT_S: Final = 5.0
MAX_BYTES: Final = 64 * 1024 * 1024
"""Of one answer; gRPC's own limit of 4 MiB is less than a node with many pods and cores needs."""
SPACE_S: Final = 0.25
"""Between two questions at least: the kubelet answers a hundred a second, for all who ask."""
RECOUNT_S: Final = 60.0
"""How often replicas are counted anew."""

_EMPTY: Final = struct.pack(">BI", 0, 0)
_HEADERS: Final = {"content-type": "application/grpc", "te": "trailers"}


class KubeletAway(Exception):
    """The kubelet gives no answer, or none of use."""


class Kubelet:
    """A kubelet's socket; one thread uses it."""

    def __init__(self, socket: Path, node: str, clock: Clock) -> None:
        """Ask at ``socket``; it may come and go with the kubelet."""
        self._node = node
        self._clock = clock
        self._replicas: dict[str, int] = {}
        self._counted: int | None = None
        self._uncounted = False
        """The last try to count them failed."""
        self._list = message("ListPodResourcesResponse")
        self._allocatable = message("AllocatableResourcesResponse")
        transport = httpx.HTTPTransport(
            uds=str(socket), http1=False, http2=True, limits=httpx.Limits(keepalive_expiry=60)
        )
        self._client = httpx.Client(
            transport=transport, base_url=f"http://localhost/{SERVICE}", timeout=TIMEOUT_S
        )

    def listing(self) -> Listing:
        """Who holds what now.

        Raises:
            KubeletAway: It does not say.
        """
        at = self._clock.boottime()
        if self._counted is None or at - self._counted >= RECOUNT_S * 1000:
            self._count(at)
            at = self._clock.boottime()
        answer = self._call("List", self._list)
        entries = tuple(
            PodEntry(
                pod.namespace,
                pod.name,
                {
                    container.name: tuple(
                        Assigned(one.resource_name, tuple(one.device_ids))
                        for one in container.devices
                    )
                    for container in pod.containers
                },
            )
            for pod in answer.pod_resources
        )
        if self._counted != at and uncounted(entries, self._replicas, self._node):
            # They are offered since a moment ago.
            self._count(at)
        return Listing(at, entries, self._replicas)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _count(self, at: int) -> None:
        """Count replicas; where the kubelet cannot say, the grant's share holds."""
        self._counted = at
        try:
            answer = self._call("GetAllocatableResources", self._allocatable)
        except KubeletAway as error:
            if not self._uncounted:
                log.warning("replicas of devices cannot be counted", why=str(error))
            self._counted, self._uncounted = None, True
            return
        self._uncounted = False
        self._replicas = replicas_of(
            (device for one in answer.devices for device in one.device_ids), self._node
        )

    def _call(self, method: str, kind: Any) -> Any:
        body = bytearray()
        try:
            with self._client.stream(
                "POST", f"/{method}", content=_EMPTY, headers=_HEADERS
            ) as answer:
                status = answer.headers.get("grpc-status", "0")
                if answer.status_code != 200 or status != "0":
                    said = answer.headers.get("grpc-message", "")
                    raise KubeletAway(f"{method}: {answer.status_code}, gRPC {status} {said}"[:300])
                for part in answer.iter_bytes():
                    body += part
                    if len(body) > MAX_BYTES:
                        raise KubeletAway(f"{method}: the answer is too long")
        except (httpx.HTTPError, OSError) as error:
            raise KubeletAway(f"{method}: {type(error).__name__}: {error}") from error
        # What failed after it began has no message, and says why only in trailers.
        if len(body) < 5:
            raise KubeletAway(f"{method}: there is no message in the answer")
        compressed, length = struct.unpack_from(">BI", body)
        if compressed or len(body) != 5 + length:
            raise KubeletAway(f"{method}: the answer is not whole")
        try:
            return kind.FromString(bytes(body[5:]))
        except DecodeError as error:
            raise KubeletAway(f"{method}: the answer cannot be read") from error


class Lister:
    """Asks again and again, and at once when pods have changed; what came last is kept."""

    def __init__(
        self, kubelet: Kubelet, heard: Callable[[Listing], None], figures: Figures, period_s: float
    ) -> None:
        """Tell ``heard`` of each listing, from this thread."""
        self._kubelet = kubelet
        self._heard = heard
        self._figures = figures
        self._period_s = period_s
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kubelet", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def soon(self) -> None:
        """Ask soon: something has changed."""
        self._wake.set()

    def close(self) -> None:
        """Stop asking."""
        self._stop.set()
        self._wake.set()
        self._thread.join(TIMEOUT_S)

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                self._heard(self._kubelet.listing())
                if failures:
                    log.info("the kubelet answers again", failures=failures)
                failures = 0
                self._figures.kubelet_up = 1
            except KubeletAway as error:
                self._figures.kubelet_up = 0
                self._figures.kubelet_errors += 1
                if failures in (0, 10) or failures % 100 == 0:
                    log.warning("the kubelet does not say who holds what", why=str(error))
                failures += 1
            except Exception:  # a fault here must not end the looking for good
                log.exception("the kubelet's answer could not be taken")
                self._figures.kubelet_errors += 1
            self._stop.wait(SPACE_S)
            self._wake.wait(self._period_s)
            self._wake.clear()
        self._kubelet.close()
