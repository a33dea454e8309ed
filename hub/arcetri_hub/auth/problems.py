"""What a person reads when a login cannot go on: every case, in plain words, with what to do.

Nothing here quotes what IAM or a URL said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tornado.web import HTTPError

from arcetri_hub.auth.answers import Answer, AnswerKind
from arcetri_spawner.policy.model import Reason


@dataclass(frozen=True, slots=True)
class Message:
    """A page of few words."""

    code: str
    title: str
    sentence: str
    remedy: str
    action: str = "Try again"
    """What the button says; it leads to a new login."""
    about_account: bool = False
    """Whether another account might do: IAM would log the same one in again at once."""


class LoginProblem(HTTPError):  # a page, not a fault of the program
    """A login that cannot go on; an ``HTTPError`` so that JupyterHub lets it through."""

    def __init__(self, status: int, message: Message) -> None:
        # Only the code is logged. The sentence is for JupyterHub's own error page.
        super().__init__(status, f"login: {message.code}")
        self.jupyterhub_message = f"{message.sentence} {message.remedy}"
        self.page = message


def capital(text: str) -> str:
    """The text as a sentence begins with it: a login service need not be a proper name."""
    return text[:1].upper() + text[1:]


def iam_silent(service: str) -> LoginProblem:
    """IAM does not answer, or nothing of use."""
    return LoginProblem(
        503,
        Message(
            "iam_silent",
            f"{capital(service)} does not answer",
            f"The login service, {service}, gives no answer at the moment, so nobody new can "
            "log in. Sessions that are running go on undisturbed.",
            "Try again in a minute. If it lasts, tell the people who run the login service.",
        ),
    )


def client_refused(service: str) -> LoginProblem:
    """IAM does not accept the hub."""
    return LoginProblem(
        502,
        Message(
            "client_refused",
            "This platform is not accepted by the login service",
            f"{capital(service)} refuses this platform's own credentials. It has nothing to do "
            "with your account, and nobody can log in until it is put right.",
            "Tell this platform's administrators that the client id or secret registered with "
            f"{service} is wrong; they see it in the hub's log too.",
        ),
    )


def bad_answer(service: str) -> LoginProblem:
    """IAM's answer is not what a provider may answer."""
    return LoginProblem(
        502,
        Message(
            "bad_answer",
            "The login could not be verified",
            f"{capital(service)} answered, but not in a way that proves who you are, so you were "
            "not logged in.",
            "Try again. If it happens again, tell this platform's administrators the time; the "
            "hub's log says what was wrong.",
        ),
    )


def not_active(service: str, answer: Answer) -> LoginProblem:
    """IAM took the login but does not admit the person any more."""
    if answer.code == "invalid_grant":
        return LoginProblem(
            403,
            Message(
                "policy_unsigned",
                "Your account needs something from you",
                f"{capital(service)} does not let your account go on, most likely because its "
                "usage policy waits for your signature.",
                f"Open {service}, log in there, sign what it shows you, then log in here again.",
                about_account=True,
            ),
        )
    return LoginProblem(
        403,
        Message(
            "not_active",
            "Your account is not active",
            f"{capital(service)} says that your account is suspended or no longer exists.",
            f"Ask the administrators of {service} to re-enable it, then log in here again.",
            about_account=True,
        ),
    )


def refused(reason: Reason) -> LoginProblem:
    """Known to IAM, but not allowed in; a start would be refused with the same words."""
    return LoginProblem(
        403,
        Message(
            reason.code,
            "You are not in a group of this platform",
            reason.sentence,
            reason.remedy,
            about_account=True,
        ),
    )


def internal() -> LoginProblem:
    """Our own fault."""
    return LoginProblem(
        500,
        Message(
            "internal",
            "Something went wrong here",
            "The login could not be finished because of a fault of this platform.",
            "Try again. If it happens again, tell this platform's administrators the time; the "
            "hub's log says what was wrong.",
        ),
    )


def own(status: int, code: str, sentence: str, remedy: str) -> LoginProblem:
    """Another part of this platform refused, and says why itself."""
    return LoginProblem(status, Message(code, "The login could not be finished", sentence, remedy))


def new_name(wanted: str, given: str, *, taken: bool) -> Message:
    """A new person is not called here what they are called at the login service."""
    why = (
        f"Somebody else already has the name {wanted} on this platform"
        if taken
        else f"The name {wanted} cannot be the name of a folder here"
    )
    return Message(
        "new_name",
        f"Your name here is {given}",
        f"{why}, so you are {given} here.",
        "Your home folder has that name too. It stays yours and will not change, even if your "
        "name at the login service does.",
        "Go on",
    )


_STALE = Message(
    "state_lost",
    "This login is no longer valid",
    "The login took too long, was started in another window, or its page was opened twice.",
    "Start again here. Your browser must accept cookies from this site.",
    "Log in",
)


def state_lost() -> LoginProblem:
    """The cookie of the login is missing or of another login."""
    return LoginProblem(400, _STALE)


def code_refused() -> LoginProblem:
    """IAM does not take its own code: used twice, or too old."""
    return LoginProblem(400, _STALE)


_AT_CALLBACK: Final = {
    "access_denied": Message(
        "access_denied",
        "The login was cancelled",
        "You, or the login service for you, declined to tell this platform who you are.",
        "Log in again and agree when you are asked; this platform needs your name and your groups.",
        "Log in",
    ),
    "invalid_scope": Message(
        "invalid_scope",
        "This platform asks for more than it may",
        "The login service does not let this platform ask for everything it needs.",
        "Tell this platform's administrators that its client at the login service must be "
        "registered with all the scopes in the hub's settings.",
    ),
    "temporarily_unavailable": Message(
        "iam_silent",
        "The login service is not ready",
        "The login service says that it cannot log anybody in at the moment.",
        "Try again in a minute.",
    ),
}
_AT_CALLBACK_OTHER: Final = Message(
    "iam_error",
    "The login service could not log you in",
    "The login service ended the login with an error.",
    "Try again. If it happens again, tell the people who run the login service.",
)
_STATUS: Final = {"access_denied": 403, "temporarily_unavailable": 503, "server_error": 502}


def at_callback(error: str) -> LoginProblem:
    """IAM sent the browser back with an error, of which only known words are read."""
    return LoginProblem(_STATUS.get(error, 400), _AT_CALLBACK.get(error, _AT_CALLBACK_OTHER))


def logged_out_here(service: str) -> Message:
    """The login at IAM is another one, and goes on."""
    return Message(
        "logged_out",
        "You are logged out",
        f"You are logged out of this platform, but still logged in at {service}: "
        "whoever uses this browser next can come back as you.",
        f"On a shared computer, log out of {service} too.",
        "Log in again",
    )


def logged_out_of_both(service: str) -> Message:
    """The login at IAM has ended too."""
    return Message(
        "logged_out_of_both",
        "You are logged out",
        f"You are logged out of this platform and of {service}.",
        "",
        "Log in again",
    )


def of_answer(service: str, answer: Answer, *, at_code: bool) -> LoginProblem:
    """What an answer other than "admitted" means for a login."""
    if answer.kind is AnswerKind.CLIENT_REFUSED:
        return client_refused(service)
    if answer.kind is AnswerKind.NOT_ADMITTED:
        return code_refused() if at_code else not_active(service, answer)
    return bad_answer(service) if answer.code == "nonsense" else iam_silent(service)
