"""Misbehaviour on demand: answers that are slow, late, or an error of the server.

``slow`` waits before the request is looked at; ``late`` does the work and then waits, so that a
client that gave up does not know that it was done; ``error`` answers with a status and an HTML
page and does nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

FaultKind = Literal["slow", "late", "error"]
FAULT_KINDS: Final[tuple[FaultKind, ...]] = ("slow", "late", "error")

EVERYWHERE: Final = "*"
DISCOVERY: Final = "/.well-known/openid-configuration"
WIRE_PATHS: Final = (
    DISCOVERY,
    "/jwk",
    "/authorize",
    "/token",
    "/userinfo",
    "/introspect",
    "/revoke",
)
"""The endpoints that can be made to misbehave. The pages and the API always work."""


class Fault(BaseModel):
    """One misbehaviour.

    Attributes:
        kind: What goes wrong.
        path: The endpoint, or ``*`` for all of ``WIRE_PATHS``.
        status: The answer of an ``error``.
        seconds: How long ``slow`` and ``late`` wait.
        times: How many requests it hits; None means all until it is cleared.
    """

    model_config = ConfigDict(extra="forbid")

    kind: FaultKind
    path: Literal[
        "*",
        "/.well-known/openid-configuration",
        "/jwk",
        "/authorize",
        "/token",
        "/userinfo",
        "/introspect",
        "/revoke",
    ] = "*"
    status: Annotated[int, Field(ge=400, le=599)] = 500
    seconds: Annotated[float, Field(ge=0, le=600)] = 5.0
    times: Annotated[int, Field(ge=1)] | None = None


@dataclass
class Faults:
    """What is to go wrong. Kept in memory: a restart ends it."""

    active: list[Fault] = field(default_factory=list)

    def take(self, path: str) -> list[Fault]:
        """The faults that hit this request."""
        hit = [fault for fault in self.active if fault.path in (EVERYWHERE, path)]
        for fault in hit:
            if fault.times is not None:
                if fault.times == 1:
                    self.active.remove(fault)
                else:
                    fault.times -= 1
        return hit


@dataclass
class Traffic:
    """How often each endpoint was asked, and how many requests it had at the same time."""

    total: Counter[str] = field(default_factory=Counter)
    peak: Counter[str] = field(default_factory=Counter)
    now: Counter[str] = field(default_factory=Counter)

    def begin(self, path: str) -> None:
        """A request came."""
        self.total[path] += 1
        self.now[path] += 1
        self.peak[path] = max(self.peak[path], self.now[path])

    def end(self, path: str) -> None:
        """It was answered."""
        self.now[path] -= 1
