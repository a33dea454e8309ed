"""What IAM's answers mean. Pure: from a status and a body to one of a few words.

IAM echoes a whole token in ``error_description`` and ``WWW-Authenticate``. So only the status and
a known ``error`` word are ever read of a refusal, and ``Answer.code`` is always one of this
module's own words: it may be logged.

A suspended account shows nowhere but at a refresh (401 ``unauthorized``), a deleted one answers
401 ``invalid_token``, one that must sign the usage policy 400 ``invalid_grant``. But 401
``unauthorized`` is also what a wrong client secret gets: ``RefusalWatch`` tells the two apart by
whether everybody is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

_KNOWN_ERRORS = frozenset(
    {
        "access_denied",
        "insufficient_scope",
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "invalid_token",
        "server_error",
        "temporarily_unavailable",
        "unauthorized",
        "unauthorized_client",
        "unsupported_grant_type",
    }
)


class AnswerKind(StrEnum):
    """What an answer says of a person; also the label of the metric."""

    ADMITTED = "admitted"
    NOT_ADMITTED = "not_admitted"
    UNKNOWN = "unknown"
    """Silence, a fault of IAM's or ours, or nonsense: says nothing of the person."""
    CLIENT_REFUSED = "client_refused"
    """IAM refuses the hub itself: its client id or secret is wrong."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came over the wire; ``status`` None when nothing came."""

    status: int | None
    body: bytes = field(default=b"", repr=False)
    reason: str = ""
    """Why nothing came: ``timeout`` or ``no_connection``."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, understood."""

    kind: AnswerKind
    code: str
    """One of this module's words, such as ``http_503`` or ``invalid_grant``; safe to log."""
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The JSON object of an accepted answer; holds tokens."""


def classify_code(reply: Reply) -> Answer:
    """Understand the token endpoint's reply to a login's code.

    A suspended account's code is still redeemed, so a refusal here never speaks of the person:
    ``NOT_ADMITTED`` means only that this code buys nothing and one must log in again.
    """
    accepted = _tokens(reply)
    if accepted is not None:
        return accepted
    match reply.status, _error(reply):
        case 401, ("unauthorized" | "invalid_client") as code:
            return Answer(AnswerKind.CLIENT_REFUSED, code)
        case 400, ("invalid_client" | "unauthorized_client") as code:
            return Answer(AnswerKind.CLIENT_REFUSED, code)
        case 400, ("invalid_grant" | "invalid_request") as code:
            return Answer(AnswerKind.NOT_ADMITTED, code)
    return _unknown(reply)


def classify_refresh(reply: Reply) -> Answer:
    """Understand the token endpoint's reply to a refresh token."""
    accepted = _tokens(reply)
    if accepted is not None:
        return accepted
    match reply.status, _error(reply):
        case (400, "invalid_grant" as code) | (401, ("unauthorized" | "invalid_token") as code):
            return Answer(AnswerKind.NOT_ADMITTED, code)
        case 400 | 401, ("invalid_client" | "unauthorized_client") as code:
            return Answer(AnswerKind.CLIENT_REFUSED, code)
    return _unknown(reply)


def classify_userinfo(reply: Reply) -> Answer:
    """Understand the userinfo endpoint's reply."""
    if reply.status == 200:
        fields = _object(reply)
        if fields is not None and isinstance(fields.get("sub"), str):
            return Answer(AnswerKind.ADMITTED, "ok", fields)
        return Answer(AnswerKind.UNKNOWN, "nonsense")
    match reply.status, _error(reply):
        case 401, "invalid_token":
            return Answer(AnswerKind.NOT_ADMITTED, "invalid_token")
    return _unknown(reply)


def classify_document(reply: Reply) -> Answer:
    """Understand a reply that should be a public JSON object: discovery, or the keys."""
    if reply.status == 200:
        fields = _object(reply)
        if fields is not None:
            return Answer(AnswerKind.ADMITTED, "ok", fields)
        return Answer(AnswerKind.UNKNOWN, "nonsense")
    return _unknown(reply)


class RefusalWatch:
    """Notices when IAM refuses everybody, which is the hub's fault and not theirs.

    ``suspected`` is set once several different people in a row got 401 ``unauthorized``, within
    ``window`` seconds and with nobody admitted between them, or as soon as IAM names the client
    itself. One accepted answer clears it.
    """

    def __init__(
        self, clock: Callable[[], float], *, people: int = 3, window: float = 600.0
    ) -> None:
        self._clock = clock
        self._people = people
        self._window = window
        self._refused: dict[str, float] = {}
        self.suspected = False

    def judge(self, person: str, answer: Answer) -> Answer:
        """Take note of an answer, and return what it means in the light of the others."""
        if answer.kind is AnswerKind.ADMITTED:
            self.clear()
        elif answer.kind is AnswerKind.CLIENT_REFUSED:
            self.suspected = True
        elif answer.kind is AnswerKind.NOT_ADMITTED and answer.code == "unauthorized":
            now = self._clock()
            self._refused = {
                name: at for name, at in self._refused.items() if now - at < self._window
            }
            self._refused[person] = now
            self.suspected = self.suspected or len(self._refused) >= self._people
            if self.suspected:
                return Answer(AnswerKind.CLIENT_REFUSED, answer.code)
        return answer

    def clear(self) -> None:
        """IAM took the client's credentials: whoever was refused was refused themselves."""
        self._refused.clear()
        self.suspected = False


def _tokens(reply: Reply) -> Answer | None:
    if reply.status != 200:
        return None
    fields = _object(reply)
    if fields is None or not _text(fields.get("access_token")):
        return Answer(AnswerKind.UNKNOWN, "nonsense")
    refresh_token = fields.get("refresh_token")
    if refresh_token is not None and not _text(refresh_token):
        return Answer(AnswerKind.UNKNOWN, "nonsense")
    return Answer(AnswerKind.ADMITTED, "ok", fields)


def _unknown(reply: Reply) -> Answer:
    if reply.status is None:
        return Answer(AnswerKind.UNKNOWN, reply.reason or "no_answer")
    error = _error(reply)
    return Answer(
        AnswerKind.UNKNOWN, f"http_{reply.status}_{error}" if error else f"http_{reply.status}"
    )


def _object(reply: Reply) -> Mapping[str, Any] | None:
    try:
        data = json.loads(reply.body)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _error(reply: Reply) -> str:
    data = _object(reply) or {}
    error = data.get("error")
    return error if isinstance(error, str) and error in _KNOWN_ERRORS else ""


def _text(value: object) -> bool:
    # What goes into a header must not end it.
    return isinstance(value, str) and value != "" and value.isascii() and value.isprintable()
