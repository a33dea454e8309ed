"""Request bodies: bounded in size, and read strictly into a person's raw choice.

What comes out is what was asked for, not what is allowed: ``policy.parse_options`` judges it.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from jupyterhub.handlers import BaseHandler
from tornado.httputil import HTTPInputError
from tornado.web import HTTPError, stream_request_body

from arcetri_hub.pages.refusals import Refused
from arcetri_spawner.errors import ArcetriError, Denied
from arcetri_spawner.policy import OPTION_KEYS, reasons
from arcetri_spawner.policy.names import shown

_IN_ADDRESSES = frozenset({"_xsrf", "next"})
"""What our own forms and scripts put there."""

BODY_LIMIT = 64 * 1024
"""Bytes; a choice needs a few hundred."""


class BodyTooLarge(ArcetriError):
    """The request's body is longer than ``BODY_LIMIT``."""

    default_code = "body_too_large"
    status = 413


def too_large() -> BodyTooLarge:
    """The refusal of a body that is too long."""
    return BodyTooLarge(
        f"The request is larger than {BODY_LIMIT // 1024} KiB.",
        remedy=f"Send only these keys: {', '.join(OPTION_KEYS)}.",
    )


def invalid(problem: str) -> Denied:
    """The refusal of a body that is not well-formed."""
    return reasons.denied(reasons.invalid_options(problem))


_DROPPED_LIMIT = 64 * 1024 * 1024
"""Bytes of a body that are read and dropped before it is refused.

Who is answered while they still send finds the connection closed, and may never see the answer.
"""


@stream_request_body
class LimitedBody(BaseHandler):
    """A handler whose bodies are refused as soon as they are too long, and never kept.

    The body arrives after ``prepare``, so that a cross-site token must come in the query or in a
    header. A handler's method calls ``receive_body`` first.
    """

    def initialize(self, *args: Any, **kwargs: Any) -> None:
        """Tornado's constructor."""
        super().initialize(*args, **kwargs)
        self._received = bytearray()
        self._overflow = False

    async def prepare(self) -> None:
        """Refuse a body at once that says itself that it is far too long."""
        await super().prepare()
        announced = self.request.headers.get("Content-Length", "0")
        if announced.isdigit() and int(announced) > _DROPPED_LIMIT:
            raise Refused(too_large())

    def data_received(self, chunk: bytes) -> None:
        """Keep a chunk, or drop everything once it is too much."""
        if self._overflow:
            return
        self._received += chunk
        if len(self._received) > BODY_LIMIT:
            self._overflow = True
            self._received.clear()

    def receive_body(self) -> bytes:
        """Return the whole body, and make its form fields available.

        Raises:
            BodyTooLarge: It is longer than ``BODY_LIMIT``.
            Denied: It is no form that can be read.
        """
        if self._overflow:
            raise too_large()
        body = bytes(self._received)
        self.request.body = body
        try:
            self.request._parse_body()
        except (HTTPInputError, HTTPError) as error:
            raise invalid("the form could not be read") from error
        return body


def refuse_choice_in_address(names: Collection[str]) -> None:
    """Refuse to start what an address chooses: it is read by nobody, and kept in many a log.

    Args:
        names: Of the address's arguments.

    Raises:
        Denied: One of them is no part of an address here.
    """
    if extra := set(names) - _IN_ADDRESSES:
        raise invalid(f"{shown(min(extra))} stands in the address, and belongs in the body")


def options_from_form(fields: dict[str, list[bytes]]) -> dict[str, Any]:
    """Read the form's fields; an empty one means "not chosen".

    A field given twice stays a list, for policy to refuse.

    Raises:
        Denied: A field is no UTF-8.
    """
    options: dict[str, Any] = {}
    for name, values in fields.items():
        if name == "_xsrf":
            continue
        try:
            texts = [text for value in values if (text := value.decode("utf-8"))]
        except UnicodeDecodeError as error:
            raise invalid("the form holds bytes that are no text") from error
        if texts:
            options[name] = texts[0] if len(texts) == 1 else texts
    return options


def json_object(body: bytes) -> dict[str, Any]:
    """Read a JSON object; an empty body is an empty object.

    Raises:
        Denied: It is no JSON, no object, too deep, or names a key twice.
    """
    if not body.strip():
        return {}
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise invalid("it is no JSON") from error
    if not isinstance(value, dict):
        raise invalid("it is no JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    named = dict(pairs)
    if len(named) < len(pairs):
        raise invalid("it names a key twice")
    return named
