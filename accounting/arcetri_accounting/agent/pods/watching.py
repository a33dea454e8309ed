"""Follows this node's pods at the API server, in a thread of its own.

What was heard last stays until the server says otherwise: when it was away, everything is listed
again, and what is not in that list any more has gone. Nothing is ever concluded from silence.
"""

from __future__ import annotations

import json
import random
import ssl
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx
import structlog

from arcetri_accounting.agent.clock import Clock
from arcetri_accounting.agent.figures import Figures
from arcetri_accounting.agent.pods.facts import Gone, Pod, Snapshot, read_pod
from arcetri_accounting.client.apiserver import ApiServer
from arcetri_accounting.client.keepalive import KEEPALIVE

log = structlog.get_logger(__name__)

PATH: Final = "/api/v1/pods"
PAGE: Final = 50
"""Pods in one answer to a list: what a node has comes in a few, and takes little memory."""
WATCH_S: Final = 60
"""After which a watch is begun anew: one whose other end hangs ends by then, and one that is gone
without a word is found by the kernel far sooner."""
TIMEOUT_S: Final = 15.0
PAUSES: Final = (0.5, 10.0)
"""Seconds before the first try again, and at most."""


class ApiAway(Exception):
    """The API server gives no answer of use."""


class _Expired(Exception):
    """The watch cannot go on from where it was."""


class PodWatch:
    """This node's pods."""

    def __init__(
        self,
        server: ApiServer,
        node: str,
        clock: Clock,
        figures: Figures,
        changed: Callable[[], None],
    ) -> None:
        """Follow the pods of ``node``; ``changed`` is called at each change, in this thread."""
        self._server = server
        self._query = {"fieldSelector": f"spec.nodeName={node}"}
        self._clock = clock
        self._figures = figures
        self._changed = changed
        self._lock = threading.Lock()
        self._pods: dict[str, Pod] = {}
        self._gone: list[Gone] = []
        self._listed = False
        self._version = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pods", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Stop; a watch that waits ends with the process."""
        self._stop.set()

    def snapshot(self) -> Snapshot | None:
        """What is known; None before everything was listed once."""
        with self._lock:
            if not self._listed:
                return None
            gone, self._gone = self._gone, []
            return Snapshot(dict(self._pods), tuple(gone))

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                with self._connected() as client:
                    while not self._stop.is_set():
                        if not self._version:
                            self._list(client)
                        self._figures.pods_up = 1
                        if failures:
                            log.info("the API server answers again", failures=failures)
                        failures = 0
                        self._watch(client)
            except _Expired:
                self._version = ""
            except (ApiAway, httpx.HTTPError, OSError, ValueError, KeyError) as error:
                self._version = ""
                self._figures.pods_up = 0
                self._figures.watch_errors += 1
                if failures in (0, 10) or failures % 100 == 0:
                    log.warning("pods cannot be followed; tried again", why=_words(error))
                first, longest = PAUSES
                pause = min(first * 2.0 ** min(failures, 10), longest)
                failures += 1
                self._stop.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            except Exception:  # a fault here must not end the following for good
                log.exception("what the API server said could not be taken")
                self._version = ""
                self._figures.watch_errors += 1
                self._stop.wait(PAUSES[1])

    def _connected(self) -> httpx.Client:
        context = ssl.create_default_context(cafile=str(self._server.ca_file))
        transport = httpx.HTTPTransport(verify=context, socket_options=KEEPALIVE)
        return httpx.Client(
            base_url=self._server.url, transport=transport, timeout=TIMEOUT_S, trust_env=False
        )

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._server.token()}", "Accept": "application/json"}

    def _list(self, client: httpx.Client) -> None:
        found: dict[str, Pod] = {}
        query: dict[str, str | int] = {**self._query, "limit": PAGE}
        while True:
            response = client.get(PATH, params=query, headers=self._headers())
            _check(response.status_code, response.text)
            answer = response.json()
            for item in answer.get("items") or ():
                pod = read_pod(item)
                found[pod.uid] = pod
            follow = answer["metadata"].get("continue")
            if not follow:
                break
            query["continue"] = follow
        with self._lock:
            for uid in self._pods.keys() - found.keys():
                self._gone.append(Gone(self._pods[uid], self._clock.boottime(), told=False))
            self._pods = found
            self._listed = True
        self._version = answer["metadata"]["resourceVersion"]
        self._changed()

    def _watch(self, client: httpx.Client) -> None:
        query: dict[str, str | int] = {
            **self._query,
            "watch": "true",
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": WATCH_S,
        }
        timeout = httpx.Timeout(TIMEOUT_S, read=WATCH_S + TIMEOUT_S)
        with client.stream(
            "GET", PATH, params=query, headers=self._headers(), timeout=timeout
        ) as response:
            if response.status_code != 200:
                _check(response.status_code, response.read().decode(errors="replace"))
            for line in response.iter_lines():
                if line:
                    self._take(json.loads(line))
                if self._stop.is_set():
                    return

    def _take(self, event: Mapping[str, Any]) -> None:
        kind, item = event["type"], event["object"]
        if kind == "ERROR":
            if item.get("code") == 410:
                raise _Expired
            raise ApiAway(f"the watch ended: {item.get('code')} {item.get('reason')}")
        self._version = item["metadata"]["resourceVersion"]
        if kind == "BOOKMARK":
            return
        pod = read_pod(item)
        with self._lock:
            if kind == "DELETED":
                # The last word about it: how it ended may be said only here.
                self._pods.pop(pod.uid, None)
                self._gone.append(Gone(pod, self._clock.boottime(), told=True))
                changed = True
            else:
                changed = self._pods.get(pod.uid) != pod
                self._pods[pod.uid] = pod
        if changed:
            self._changed()


def _check(status: int, text: str) -> None:
    if status == 410:
        raise _Expired
    if status != 200:
        raise ApiAway(f"{status}: {text[:200]}")


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]
