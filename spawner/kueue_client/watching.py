"""Following a collection for ever: through broken connections, restarts and versions too old.

A watch lists once, then follows from there, and whenever it cannot go on it lists again and says
what has changed meanwhile, deletions too. So whoever keeps what the events say always has what the
API server has, however long it was away. Bookmarks keep the version young. ``Progress`` decides and
is pure; the two watches do what it says.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol

from kueue_client import calls
from kueue_client.calls import Listing, O
from kueue_client.enums import OpenEnum
from kueue_client.errors import (
    Forbidden,
    Gone,
    KueueError,
    NotInstalled,
    Unauthorized,
    Unexpected,
    from_status,
)
from kueue_client.steps import AsyncDoer, Doer, Pause, Request, arun, run

STREAM_SECONDS: Final = 240
"""After which the server is asked to end a stream, so that it is begun anew now and then."""
SILENCE_SECONDS: Final = 90.0
"""After which a stream that says nothing is thought dead; bookmarks come about once a minute."""
FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 20.0


class EventType(OpenEnum):
    """What has happened to an object."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


@dataclass(frozen=True)
class Event(Generic[O]):
    """Something that has happened to an object.

    Attributes:
        type: What.
        object: The object as it is now; a deleted one as it was last.
    """

    type: EventType
    object: O


@dataclass(slots=True)
class Progress(Generic[O]):
    """How far a watch is, and what it does next.

    Attributes:
        kind: The kind of object.
        namespace: Whose objects; None for those of all namespaces.
        labels: A label selector.
        fields: A field selector.
        deadline: When it ends, on the clock; None for never.
        clock: Seconds that only grow.
        trouble: What it recovers from; None while all is well.
    """

    kind: type[O]
    namespace: str | None
    labels: str = ""
    fields: str = ""
    deadline: float | None = None
    clock: Callable[[], float] = time.monotonic
    trouble: KueueError | None = None
    _version: str = ""
    _known: dict[tuple[str, str], O] = field(default_factory=dict)
    _synced: bool = False
    _failures: int = 0
    _rest: float = 0.0

    def start(self, listing: Listing[O]) -> None:
        """Go on from what somebody has listed, and say nothing of what is in it."""
        self._known = {_key(one): one for one in listing.items}
        self._version, self._synced = listing.resource_version, True

    @property
    def remaining(self) -> float | None:
        """The seconds until it ends."""
        return None if self.deadline is None else self.deadline - self.clock()

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.remaining is not None and self.remaining <= 0

    def rest(self) -> Pause | None:
        """What to wait before the next attempt."""
        seconds, self._rest = self._rest, 0.0
        if self.remaining is not None:
            seconds = min(seconds, max(self.remaining, 0.0))
        return Pause(seconds) if seconds else None

    @property
    def must_list(self) -> bool:
        """Whether there is nothing to go on from."""
        return not self._version

    def request(self) -> Request:
        """What to follow next."""
        seconds = STREAM_SECONDS
        if self.remaining is not None:
            seconds = max(1, min(seconds, round(self.remaining)))
        query = (
            ("watch", "true"),
            ("resourceVersion", self._version),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(seconds)),
            *calls.selectors(self.labels, self.fields),
        )
        return Request("GET", calls.collection(self.kind, self.namespace), query)

    def silence(self) -> float:
        """How long a stream may say nothing."""
        if self.remaining is None:
            return SILENCE_SECONDS
        return max(0.1, min(SILENCE_SECONDS, self.remaining + 1))

    def listed(self, listing: Listing[O]) -> list[Event[O]]:
        """What has changed since it was last known."""
        now = {_key(one): one for one in listing.items}
        events = [
            Event(EventType.DELETED, one)
            for key, one in self._known.items()
            if key not in now or now[key].metadata.uid != one.metadata.uid
        ]
        for key, one in now.items():
            before = self._known.get(key)
            if before is None or before.metadata.uid != one.metadata.uid:
                events.append(Event(EventType.ADDED, one))
            elif before.metadata.resource_version != one.metadata.resource_version:
                events.append(Event(EventType.MODIFIED, one))
        self._known, self._version, self._synced = now, listing.resource_version, True
        self._well()
        return events

    def line(self, text: bytes) -> Event[O] | None:
        """What a line of the stream says.

        Raises:
            KueueError: That it cannot go on so.
        """
        try:
            said: dict[str, Any] = json.loads(text)
            what, found = str(said["type"]), said["object"]
        except (ValueError, KeyError, TypeError) as error:
            raise Unexpected("The API server sent a line of a watch that is no event.") from error
        if what == "ERROR":
            raise from_status(int(found.get("code") or 500), found, "")
        version = str((found.get("metadata") or {}).get("resourceVersion") or "")
        if what == "BOOKMARK":
            self._version = version or self._version
            self._well()
            return None
        one = self.kind.from_wire(found)
        if what == EventType.DELETED:
            self._known.pop(_key(one), None)
        else:
            self._known[_key(one)] = one
        self._version = version or self._version
        self._well()
        return Event(EventType(what), one)

    def failed(self, error: KueueError) -> None:
        """Note what went wrong, and how long to wait.

        Raises:
            KueueError: This one, when it was so from the beginning and waiting will not help.
        """
        hopeless = Forbidden | Unauthorized | NotInstalled | Unexpected
        if not self._synced and isinstance(error, hopeless):
            raise error
        if isinstance(error, Gone | Unexpected):
            self._version = ""
            if isinstance(error, Gone) and not self._failures:
                self._failures = 1
                return  # that a version grows old is no fault of anybody's
        self.trouble = error
        self._failures += 1
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failures - 1, 16))
        # Not all who were cut off come back at the same instant.
        self._rest = longest * random.uniform(0.5, 1.0)  # noqa: S311

    def _well(self) -> None:
        self.trouble, self._failures = None, 0


def _key(one: O) -> tuple[str, str]:
    return one.namespace, one.name


class Streams(Doer, Protocol):
    """A transport that blocks."""

    def stream(self, request: Request, seconds: float) -> Any:
        """The lines of an answer that goes on."""


class AsyncStreams(AsyncDoer, Protocol):
    """A transport that is awaited."""

    def stream(self, request: Request, seconds: float) -> Any:
        """The lines of an answer that goes on."""


class _Watch(Generic[O]):
    def __init__(self, progress: Progress[O]) -> None:
        self._progress = progress

    @property
    def trouble(self) -> KueueError | None:
        """What the watch is recovering from; None while it follows."""
        return self._progress.trouble


class Watch(_Watch[O]):
    """Iterate over it: events, for ever or as long as was said."""

    def __init__(self, progress: Progress[O], transport: Streams) -> None:
        """Made by a collection's ``watch``."""
        super().__init__(progress)
        self._transport = transport

    def __iter__(self) -> Iterator[Event[O]]:
        progress, transport = self._progress, self._transport
        while not progress.over:
            if pause := progress.rest():
                transport.do(pause)
                continue
            try:
                if progress.must_list:
                    yield from progress.listed(run(_listing(progress), transport))
                    continue
                with transport.stream(progress.request(), progress.silence()) as lines:
                    for line in lines:
                        if (event := progress.line(line)) is not None:
                            yield event
            except KueueError as error:
                if not progress.over:
                    progress.failed(error)


class AsyncWatch(_Watch[O]):
    """Iterate over it with ``async for``: events, for ever or as long as was said."""

    def __init__(self, progress: Progress[O], transport: AsyncStreams) -> None:
        """Made by a collection's ``watch``."""
        super().__init__(progress)
        self._transport = transport

    async def __aiter__(self) -> AsyncIterator[Event[O]]:
        progress, transport = self._progress, self._transport
        while not progress.over:
            if pause := progress.rest():
                await transport.do(pause)
                continue
            try:
                if progress.must_list:
                    for event in progress.listed(await arun(_listing(progress), transport)):
                        yield event
                    continue
                async with transport.stream(progress.request(), progress.silence()) as lines:
                    async for line in lines:
                        if (found := progress.line(line)) is not None:
                            yield found
            except KueueError as error:
                if not progress.over:
                    progress.failed(error)


def _listing(progress: Progress[O]) -> Any:
    return calls.list_all(progress.kind, progress.namespace, progress.labels, progress.fields)
