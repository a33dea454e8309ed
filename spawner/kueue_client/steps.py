"""Work that is described here and done elsewhere: the same for programs that block and that await.

What has to be asked of the API server is a generator (``Steps``): it yields requests and pauses, is
given answers, and returns what was wanted. Two short loops do what generators ask for, one blocking
and one awaiting, so that each operation is written once. ``operation`` makes a method of a
generator function that both kinds of client have: for one it returns the result, for the other it
is awaited.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, overload

from kueue_client.errors import KueueError

P = ParamSpec("P")
T = TypeVar("T")
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class Request:
    """Something to ask the API server.

    Attributes:
        method: The HTTP method.
        path: The path, its names quoted.
        query: Further parameters.
        body: JSON to send.
        content: What that JSON is.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: dict[str, Any] | None = None
    content: str = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server answered."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Pause:
    """Some seconds to let pass."""

    seconds: float


Steps = Generator[Request | Pause, Any, T]
"""What has to be done until there is a ``T``."""


class Doer(Protocol):
    """Does what blocks."""

    def do(self, action: Request | Pause) -> Answer | None:
        """Ask, or wait."""


class AsyncDoer(Protocol):
    """Does what is awaited."""

    async def do(self, action: Request | Pause) -> Answer | None:
        """Ask, or wait."""


def run(steps: Steps[T], doer: Doer) -> T:
    """Do what the steps ask for, and return what they come to."""
    try:
        action = next(steps)
        while True:
            try:
                result = doer.do(action)
            except KueueError as error:
                action = steps.throw(error)
            else:
                action = steps.send(result)
    except StopIteration as end:
        found: T = end.value
        return found
    finally:
        steps.close()


async def arun(steps: Steps[T], doer: AsyncDoer) -> T:
    """The same, awaiting."""
    try:
        action = next(steps)
        while True:
            try:
                result = await doer.do(action)
            except KueueError as error:
                action = steps.throw(error)
            else:
                action = steps.send(result)
    except StopIteration as end:
        found: T = end.value
        return found
    finally:
        steps.close()


class Blocking:
    """What has operations that return their results."""

    _doer: Doer


class Awaiting:
    """What has operations that are awaited."""

    _doer: AsyncDoer


class operation(Generic[P, T]):  # noqa: N801  # a decorator
    """A method that is described once, by a generator function, for both kinds of client."""

    def __init__(self, describe: Callable[Concatenate[Any, P], Steps[T]]) -> None:
        self._describe = describe
        functools.update_wrapper(self, describe)  # type: ignore[arg-type]  # it is called through __get__

    @overload
    def __get__(self, instance: Blocking, owner: type | None = None) -> Callable[P, T]: ...

    @overload
    def __get__(
        self, instance: Awaiting, owner: type | None = None
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """The method of one client."""
        if instance is None:
            return self
        describe, doer = self._describe, instance._doer
        if isinstance(instance, Awaiting):

            @functools.wraps(describe)
            async def awaited(*args: P.args, **kwargs: P.kwargs) -> T:
                return await arun(describe(instance, *args, **kwargs), doer)

            return awaited

        @functools.wraps(describe)
        def blocking(*args: P.args, **kwargs: P.kwargs) -> T:
            return run(describe(instance, *args, **kwargs), doer)

        return blocking
