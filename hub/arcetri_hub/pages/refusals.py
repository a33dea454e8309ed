"""Errors as a page or a JSON answer shows them: a code, a sentence and a remedy, never a traceback.

JupyterHub wraps what a spawner raises in exceptions of its own; ``refusal_of`` finds ours again.
"""

from __future__ import annotations

from dataclasses import dataclass
from http.client import responses
from typing import Any, Final

from jupyterhub.spawner import SpawnException
from tornado.web import HTTPError

from arcetri_spawner.details import kept
from arcetri_spawner.errors import ArcetriError
from arcetri_spawner.policy.reasons import WAITING_CODES

_ABOUT_THE_FLAVOR = frozenset({*WAITING_CODES, "maintenance", "no_environment", "no_size"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """What went wrong, for a person and for a script."""

    status: int
    code: str
    message: str
    remedy: str = ""
    details: str = ""
    """Raw lines for those who want them; on pages only."""

    def as_json(self) -> dict[str, Any]:
        """The body of a JSON answer."""
        return {
            "status": self.status,
            "code": self.code,
            "message": self.message,
            "remedy": self.remedy,
        }

    @property
    def field(self) -> str:
        """The form's field this is about, or an empty text when it is about none."""
        if self.code in _ABOUT_THE_FLAVOR:
            return "flavor"
        noun = self.code.split("_")[0]
        return noun if noun in ("flavor", "group", "environment", "size") else ""


class Refused(HTTPError):
    """Ends a request with the answer that fits an error of ours."""

    def __init__(self, error: ArcetriError) -> None:
        super().__init__(error.status, str(error))
        self.error = error


def from_error(error: ArcetriError) -> Refusal:
    """Show an error of ours."""
    return Refusal(error.status, error.code, error.message, error.remedy, kept(error.details))


def refusal_of(exception: BaseException | None, status: int = 500) -> Refusal:
    """Find what to show of any exception; unknown ones tell nothing of their insides.

    Args:
        exception: What was raised; None when only a status is known.
        status: The HTTP status where the exception names none.
    """
    seen: BaseException | None = exception
    while seen is not None:
        if isinstance(seen, ArcetriError):
            return from_error(seen)
        error = getattr(seen, "error", None)
        if isinstance(error, ArcetriError):
            return from_error(error)
        seen = seen.__cause__
    if isinstance(exception, TimeoutError):
        return Refusal(
            504,
            "start_timeout",
            "The session did not start in time.",
            "Ask again; if it happens twice, choose another flavour or environment.",
        )
    if isinstance(exception, SpawnException):
        status = exception.status_code
        return Refusal(status, _code(status), exception.message, default_remedy(status))
    if isinstance(exception, HTTPError):
        status = exception.status_code
        message = exception.get_message() or exception.reason or responses.get(status, "Error")
        if status >= 500:  # JupyterHub names servers and log files there, for admins
            message = "Something went wrong on the platform's side."
        return Refusal(status, _code(status), message, default_remedy(status))
    message = responses.get(status, "Something went wrong on the platform's side.")
    return Refusal(status, _code(status), message, default_remedy(status))


_REMEDIES: Final = {
    400: "Correct what the sentence names, and send it again.",
    401: "Log in again, or send a token that is valid still.",
    403: "Log in as somebody who may, or use a token whose scopes allow it: your own are made on"
    " the Token page.",
    404: "Check the address and the names in it; what you may not see is not found either. Your own"
    " sessions are listed on the Home page.",
    405: "Use one of the methods that the REST API of JupyterHub or of this platform describes.",
    409: "Look at what there is now: the request may be done already, or in the way of another.",
    429: "Try again in a minute.",
}
_REMEDY_OF_FAULTS: Final = (
    "Try again in a minute. If it lasts, whoever runs the platform finds the reason in its logs."
)


def default_remedy(status: int) -> str:
    """What to do about an answer with this HTTP status, where nobody has anything better to say."""
    return _REMEDY_OF_FAULTS if status >= 500 else _REMEDIES.get(status, _REMEDIES[400])


def _code(status: int) -> str:
    return responses.get(status, "error").lower().replace(" ", "_").replace("-", "_")
