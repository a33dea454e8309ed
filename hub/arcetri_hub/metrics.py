"""What Arcetri counts for Prometheus, beside JupyterHub's own numbers in ``/hub/metrics``.

Names follow JupyterHub's grammar, ``<noun>_<verb>_<type>_<unit>``, under the prefix ``arcetri``.
Every value a label can have is there from the start, so that an alert can tell "never" from "not
looked at". What depends on the catalog is read from it at each scrape: a flavour that was taken
out of the catalog vanishes with it. ``docs/reference/metrics.md`` describes each metric.
"""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol
from uuid import UUID

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from arcetri_hub.auth.answers import AnswerKind
from arcetri_hub.pages.body import BodyTooLarge
from arcetri_spawner import errors
from arcetri_spawner.groups import EVERYONE
from arcetri_spawner.policy import startable_by_anybody
from arcetri_spawner.policy.queueing import EVICTED_CODES
from arcetri_spawner.policy.reasons import ALL_CODES

if TYPE_CHECKING:
    from arcetri_spawner.backends.base import Away, Backend, Session
    from arcetri_spawner.catalog import CatalogHolder, ReloadResult
    from arcetri_spawner.catalog.models import Catalog
    from arcetri_spawner.policy.model import Grant
    from arcetri_spawner.waiting import Entry

OUTCOMES: Final = ("started", "queued", "denied", "busy", "cancelled", "failed")
OTHER: Final = "other"
"""The label of a code that is not known beforehand; none should ever be counted under it."""

REFUSAL_CODES: Final = (
    *ALL_CODES,
    *(kind.default_code for kind in (errors.Denied, errors.Busy, BodyTooLarge)),
    OTHER,
)
INTERRUPTED: Final = "interrupted"
"""The label of a start that JupyterHub gave up, or a closing hub cut short."""
EVICTIONS: Final = (*(code for code in EVICTED_CODES if code != "evicted_maintenance"), OTHER)
"""Why queues want something back; a maintenance is no queue's."""
RELOADS: Final = ("success", "failure")
IAM_ANSWERS: Final = tuple(kind.value for kind in AnswerKind)


WAITED: Final = (1, 10, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 86400, 259200)
"""Upper bounds of the histogram's buckets in seconds: from at once to three days."""


class WaitingRequests(Protocol):
    """What is used of ``WaitingRoom``."""

    def entries(self) -> list[Entry]:
        """Everybody who has asked and not started, from memory."""
        ...


class RunningSessions(Protocol):
    """What is used of ``SessionService``."""

    @property
    def waiting(self) -> WaitingRequests:
        """Who has asked and not started."""
        ...

    def running(self) -> Mapping[UUID, tuple[Grant, Session]]:
        """The started sessions, from memory."""
        ...

    def away_of(self, session_id: UUID) -> Away | None:
        """What to say of what a session runs on, while that gives no answer."""
        ...


class MeasuredPlatform(Protocol):
    """What the gauges are read from."""

    @property
    def catalogs(self) -> CatalogHolder:
        """The catalog in force, and what was wrong with the last refused one."""
        ...

    @property
    def service(self) -> RunningSessions:
        """Which sessions run."""
        ...

    @property
    def backend(self) -> Backend:
        """What is free."""
        ...


class Metrics:
    """The counters, and the gauges of one platform.

    Args:
        registry: Where they appear; the default one is what ``/hub/metrics`` shows.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._registry = registry
        self._pairs: set[tuple[str, str]] = set()
        self._failure_codes = (*errors.failure_codes(), INTERRUPTED, OTHER)
        self._requests = Counter(
            "arcetri_request_decide_total",
            "Requests for a session, by what became of them",
            ["outcome"],
            registry=registry,
        )
        self._refusals = Counter(
            "arcetri_request_refuse_total",
            "Requests that were denied or would have had to wait, by the reason's code",
            ["code"],
            registry=registry,
        )
        self._failures = Counter(
            "arcetri_session_start_fail_total",
            "Granted requests whose session could not be started, by the error's code",
            ["code"],
            registry=registry,
        )
        self._reloads = Counter(
            "arcetri_catalog_reload_total",
            "Changed catalog files that were read, by whether they were taken or refused",
            ["status"],
            registry=registry,
        )
        self._answers = Counter(
            "arcetri_iam_answer_total",
            "Answers of the identity provider about a person, by kind",
            ["kind"],
            registry=registry,
        )
        self._waited = Histogram(
            "arcetri_request_wait_seconds",
            "How long requests waited until it was their turn, by charged group and flavour",
            ["group", "flavor"],
            buckets=WAITED,
            registry=registry,
        )
        self._evictions = Counter(
            "arcetri_ticket_evict_total",
            "Times a queue wanted back what a request held, by the reason's code",
            ["code"],
            registry=registry,
        )
        for counter, values in (
            (self._evictions, EVICTIONS),
            (self._requests, OUTCOMES),
            (self._refusals, REFUSAL_CODES),
            (self._failures, self._failure_codes),
            (self._reloads, RELOADS),
            (self._answers, IAM_ANSWERS),
        ):
            for value in values:
                counter.labels(value)

    def request_decided(self, outcome: str, code: str) -> None:
        """Count what became of a request; the service's observer."""
        self._requests.labels(outcome if outcome in OUTCOMES else "failed").inc()
        if outcome in ("denied", "busy"):
            self._refusals.labels(code if code in REFUSAL_CODES else OTHER).inc()
        elif outcome not in ("started", "queued", "cancelled"):
            self._failures.labels(code if code in self._failure_codes else OTHER).inc()

    def request_admitted(self, grant: Grant, waited: timedelta) -> None:
        """Count how long it took until it was a request's turn; the service's observer."""
        self._pairs.add((grant.group, grant.flavor))
        self._waited.labels(grant.group, grant.flavor).observe(max(waited.total_seconds(), 0.0))

    def ticket_evicted(self, code: str) -> None:
        """Count that what a request holds is wanted back; the service's observer."""
        self._evictions.labels(code if code in EVICTIONS else OTHER).inc()

    def iam_answered(self, kind: str) -> None:
        """Count an answer of the identity provider; see ``arcetri_hub.auth.ANSWER_KINDS``."""
        self._answers.labels(kind if kind in IAM_ANSWERS else AnswerKind.UNKNOWN.value).inc()

    def catalog_read(self, *, refused: bool) -> None:
        """Count a changed catalog file."""
        self._reloads.labels("failure" if refused else "success").inc()

    def _show_waits(self, catalog: Catalog) -> None:
        """Have a histogram for each flavour of each group, and none for what is gone."""
        granted = set(granted_pairs(catalog))
        for pair in self._pairs - granted:
            self._waited.remove(*pair)
        for pair in granted:
            self._waited.labels(*pair)
        self._pairs = granted

    async def watch(self, platform: MeasuredPlatform) -> None:
        """Show the platform's gauges, and count what becomes of its catalog, until cancelled."""
        collector = PlatformCollector(platform)
        self._registry.register(collector)
        self._show_waits(platform.catalogs.current.catalog)
        if platform.catalogs.findings:
            self.catalog_read(refused=True)

        def read(result: ReloadResult) -> None:
            self.catalog_read(refused=result.refused)
            self._show_waits(result.catalog.catalog)

        end = platform.catalogs.subscribe(read)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            end()
            self._registry.unregister(collector)


class PlatformCollector(Collector):
    """Gauges, made anew at each scrape from the catalog in force."""

    def __init__(
        self,
        platform: MeasuredPlatform,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._platform = platform
        self._clock = clock

    def describe(self) -> Iterator[Metric]:
        """Name the gauges, without asking the platform."""
        yield _refused()
        yield _running()
        yield _startable()
        yield _devices()
        yield _waiting()
        yield _admitted()
        yield _stale()
        yield _away()

    def collect(self) -> Iterator[Metric]:
        """Read the gauges; memory only, so a scrape never waits."""
        catalogs = self._platform.catalogs
        catalog = catalogs.current.catalog
        service = self._platform.service
        sessions = service.running()
        grants = [grant for grant, _ in sessions.values()]
        held = Tally(grant.flavor for grant in grants)
        in_use = Tally((grant.group, grant.flavor) for grant in grants)
        inventory = self._platform.backend.current_inventory()
        free = startable_by_anybody(catalog, inventory, in_use, self._clock())
        refused, running, startable, devices = _refused(), _running(), _startable(), _devices()
        refused.add_metric([], 1 if catalogs.findings else 0)
        for flavor in catalog.flavors:
            entry = inventory.flavors.get(flavor)
            running.add_metric([flavor], held[flavor])
            startable.add_metric([flavor], free[flavor])
            devices.add_metric([flavor], entry.total if entry else 0)
        stages: Tally[tuple[bool, str, str]] = Tally(
            (entry.stage == "admitted", entry.grant.group, entry.grant.flavor)
            for entry in service.waiting.entries()
            if not entry.starting
        )
        waiting, admitted = _waiting(), _admitted()
        known = dict.fromkeys(granted_pairs(catalog))
        # Somebody may still wait for what the catalog has no longer.
        known.update(dict.fromkeys((group, flavor) for _, group, flavor in stages))
        for group, flavor in known:
            waiting.add_metric([group, flavor], stages[False, group, flavor])
            admitted.add_metric([group, flavor], stages[True, group, flavor])
        stale, away = _stale(), _away()
        stale.add_metric([], 1 if inventory.stale else 0)
        away.add_metric([], sum(service.away_of(key) is not None for key in sessions))
        yield from (refused, running, startable, devices, waiting, admitted, stale, away)


def granted_pairs(catalog: Catalog) -> Iterator[tuple[str, str]]:
    """Every group and flavour that a request can be charged to and ask for."""
    for flavor in catalog.everyone.flavors:
        yield EVERYONE, flavor
    for path, group in catalog.groups.items():
        for flavor in group.flavors:
            yield path, flavor


def _waiting() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "arcetri_waiting_requests",
        "Requests that wait in line, by charged group and flavour",
        labels=["group", "flavor"],
    )


def _admitted() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "arcetri_admitted_requests",
        "Requests whose turn has come and that have not begun to start, by charged group and"
        " flavour",
        labels=["group", "flavor"],
    )


def _refused() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "arcetri_catalog_refused",
        "1 while profiles.yaml as it is now is refused and the last good one serves, else 0",
        labels=[],
    )


def _running() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "arcetri_running_sessions", "Sessions that run now, by flavour", labels=["flavor"]
    )


def _startable() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "arcetri_startable_sessions",
        "Sessions that would start now, by flavour, if all who may asked for one",
        labels=["flavor"],
    )


def _devices() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "arcetri_capacity_sessions",
        "Sessions that there are devices for, free or not, by flavour",
        labels=["flavor"],
    )


def _stale() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "arcetri_inventory_stale",
        "1 while what is free is not known anew, as the API server cannot be asked, else 0",
        labels=[],
    )


def _away() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "arcetri_away_sessions", "Sessions that run on what gives no answer", labels=[]
    )
