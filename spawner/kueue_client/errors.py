"""What can go wrong, each with a stable code, a sentence, and what to do.

::

    KueueError              has a code, a message and a remedy
    ├── Unreachable         the API server gave no answer: whether it did something is not known
    ├── WebhookDown         Kueue does not answer the API server: nothing was changed
    ├── VisibilityDown      Kueue's visibility API does not answer: positions are not known
    ├── NotInstalled        the cluster has no Kueue, or not this version of its API
    ├── Refused             the API server said no (has its status and reason)
    │   ├── Unauthorized    it does not know who asks
    │   ├── Forbidden       whoever asks may not
    │   ├── NotFound        the object is not there
    │   ├── AlreadyExists   an object of that name is there
    │   ├── Conflict        somebody else has changed it meanwhile, or owns the field
    │   ├── Gone            that version of the list is too old to go on from
    │   └── Invalid         the object is not as the API, or Kueue's webhook, wants it
    ├── Unexpected          an answer that is not of this version of the API
    └── WrongState          the ticket is not where that could be done

Codes are stable: programs match on them or on the classes. Messages may be reworded.
"""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar


class KueueError(Exception):
    """Something that did not work.

    Attributes:
        code: A stable word, one for each class.
        message: A sentence that says what is wrong.
        remedy: What can be done about it, for whoever runs the cluster; may be empty.
    """

    code: ClassVar[str] = "kueue_error"
    default_remedy: ClassVar[str] = ""

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = self.default_remedy if remedy is None else remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class Unreachable(KueueError):
    """The API server gave no answer, or none that says anything."""

    code = "unreachable"
    default_remedy = "Ask again: an answer that was lost may have been a yes."


class WebhookDown(KueueError):
    """The API server asked Kueue's webhook and got no answer; nothing was changed."""

    code = "webhook_down"
    default_remedy = (
        "Ask again in a while; see whether Kueue's manager runs (Deployment"
        " kueue-controller-manager) and whether the API server reaches its webhook's Service."
    )


class VisibilityDown(KueueError):
    """Kueue's visibility API does not answer."""

    code = "visibility_down"
    default_remedy = (
        "Ask again in a while; see whether the APIService v1beta2.visibility.kueue.x-k8s.io is"
        " available."
    )


class NotInstalled(KueueError):
    """The cluster does not serve what was asked for at all."""

    code = "not_installed"
    default_remedy = "Install Kueue 0.17 or newer, whose API has v1beta2."


class Refused(KueueError):
    """The API server said no.

    Attributes:
        status: The HTTP status.
        reason: Kubernetes' word for it, such as ``AlreadyExists``.
    """

    code = "refused"

    def __init__(
        self, message: str, *, status: int = 0, reason: str = "", remedy: str | None = None
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.status = status
        self.reason = reason


class Unauthorized(Refused):
    """The API server does not know who asks."""

    code = "unauthorized"
    default_remedy = "Renew the token or the certificate of the kubeconfig or service account."


class Forbidden(Refused):
    """Whoever asks may not."""

    code = "forbidden"
    default_remedy = "Give the account a Role with this verb and resource."


class NotFound(Refused):
    """The object is not there."""

    code = "not_found"


class AlreadyExists(Refused):
    """An object of that name is there already."""

    code = "already_exists"
    default_remedy = "Read it, and change it or choose another name."


class Conflict(Refused):
    """Somebody else has changed the object meanwhile, or owns one of the fields applied."""

    code = "conflict"
    default_remedy = "Read it anew and try again; an apply can take fields over with force=True."


class Gone(Refused):
    """That version of the list is too old to go on from."""

    code = "gone"
    default_remedy = "List anew, and watch from there."


class Invalid(Refused):
    """The object is not as it must be.

    Attributes:
        causes: Where the API server says so: a field's path, and what is wrong with it.
    """

    code = "invalid"

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        reason: str = "",
        causes: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message, status=status, reason=reason)
        self.causes = causes


class Unexpected(KueueError):
    """An answer that is not of this version of the API."""

    code = "unexpected"
    default_remedy = "Compare Kueue's version with the one this client is for."


class WrongState(KueueError):
    """The ticket is not where that could be done."""

    code = "wrong_state"


_BY_STATUS: dict[int, type[Refused]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
}
_BY_REASON: dict[str, type[Refused]] = {
    "AlreadyExists": AlreadyExists,
    "Expired": Gone,
    "Gone": Gone,
}
_WEBHOOK = re.compile(r'failed calling webhook "([^"]+)"')
_DENIED = re.compile(r'admission webhook "[^"]+" denied the request: (.*)', re.DOTALL)


def from_answer(status: int, body: bytes, path: str) -> KueueError:
    """The error that an answer of 400 or more means.

    Args:
        status: The HTTP status.
        body: What came with it; a Status object, or anything that stands between.
        path: What was asked.
    """
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        said = {"message": body[:300].decode("utf-8", "replace").strip()}
    return from_status(status, said, path)


def from_status(status: int, said: dict[str, Any], path: str) -> KueueError:
    """The error that a Status object means; the arguments are those of ``from_answer``."""
    message = str(said.get("message") or f"HTTP {status}").rstrip(".")
    reason = str(said.get("reason") or "")
    if found := _WEBHOOK.search(message):
        return WebhookDown(f"Kueue's webhook {found[1]} does not answer.")
    if status in (429, 502, 503, 504) and path.startswith("/apis/visibility."):
        return VisibilityDown(f"Kueue's visibility API does not answer: {message}.")
    if status >= 500 or status == 429:
        return Unreachable(f"The API server answers {status}: {message}.")
    if status == 404 and not (said.get("details") or {}).get("name"):
        return NotInstalled(f"The cluster has nothing at {path.partition('?')[0]}.")
    if denied := _DENIED.search(message):
        return Invalid(f"Kueue refuses it: {denied[1]}.", status=status, reason=reason)
    if status in (400, 422):
        causes = (said.get("details") or {}).get("causes") or []
        return Invalid(
            f"The API server refuses it: {message}.",
            status=status,
            reason=reason,
            causes=tuple(
                (str(one.get("field", "")), str(one.get("message", ""))) for one in causes
            ),
        )
    kind = _BY_REASON.get(reason) or _BY_STATUS.get(status, Refused)
    return kind(f"The API server says: {message}.", status=status, reason=reason)
