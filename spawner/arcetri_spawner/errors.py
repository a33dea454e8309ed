"""The errors of this package.

::

    ArcetriError               has a code, a sentence and a remedy; may be shown to a person
    ├── CatalogError           profiles.yaml cannot be used (carries all findings)
    ├── Denied                 policy says no; asking again unchanged says no again
    ├── Busy                   policy says yes, but one would wait; nothing was started
    │   └── Kept               the request is kept, and starts by itself as soon as it can
    ├── StoreError             the database cannot be read or written
    │   ├── Conflict           somebody else was faster
    │   ├── AnotherHub         another hub works with the database
    │   └── StorageFull        the disk of the state folder is full
    └── BackendError           a session could not be started, stopped or found
        ├── DeviceUnavailable  a granted device cannot be had
        ├── InDoubt            it is not known whether the session runs
        └── StartFailed        the process ended or never answered

Codes are stable: scripts and tests match on them. Sentences and remedies may be reworded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from arcetri_spawner.catalog.findings import Finding


class ArcetriError(Exception):
    """An error that may be shown to a person.

    Attributes:
        code: A stable word such as ``flavor_not_granted``.
        message: One sentence that says what is wrong.
        remedy: What the person can do about it, naming the group, the edit or the alternative.
        status: The HTTP status that fits.
        details: What was said by what failed, word for word, for those who want it; not in the
            sentence, and only for whom it concerns.
        codes: What ``code`` may be besides ``default_code``, where that is known beforehand.
    """

    default_code: ClassVar[str] = "error"
    codes: ClassVar[tuple[str, ...]] = ()
    status: int = 500
    details: str = ""

    def __init__(self, message: str, *, code: str | None = None, remedy: str = "") -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class CatalogError(ArcetriError):
    """profiles.yaml cannot be used.

    Attributes:
        findings: Everything that is wrong with it.
    """

    default_code = "catalog_invalid"

    def __init__(
        self, message: str, *, remedy: str = "", findings: tuple[Finding, ...] = ()
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.findings = findings


class Denied(ArcetriError):
    """Policy refuses; see ``arcetri_spawner.policy.reasons`` for all codes and their statuses."""

    default_code = "denied"
    status = 403

    def __init__(
        self, message: str, *, code: str | None = None, remedy: str = "", status: int = 403
    ) -> None:
        super().__init__(message, code=code, remedy=remedy)
        self.status = status


class Busy(ArcetriError):
    """The request is legitimate but cannot start now."""

    default_code = "busy"
    status = 409


class Kept(Busy):
    """The request cannot start now; it is kept, and starts by itself as soon as it can."""


class StoreError(ArcetriError):
    """The database cannot be read or written."""

    default_code = "store_unavailable"
    codes: ClassVar[tuple[str, ...]] = (
        "grant_unreadable",
        "posix_ids_exhausted",
        "store_closed",
        "store_locked",
        "store_too_new",
        "store_url_invalid",
    )
    status = 503


class Conflict(StoreError):
    """Somebody else was faster."""

    default_code = "conflict"
    codes = (
        "account_unknown",
        "posix_id_refused",
        "posix_id_taken",
        "request_ended",
        "waits_no_more",
    )
    status = 409


class AnotherHub(StoreError):
    """Another hub works with the database."""

    default_code = "another_hub"


class StorageFull(StoreError):
    """The disk of the state folder is full."""

    default_code = "storage_full"


class BackendError(ArcetriError):
    """A session could not be started, stopped or found."""

    default_code = "backend_failed"


class DeviceUnavailable(BackendError):
    """A granted device cannot be had."""

    default_code = "device_unavailable"
    status = 409


class InDoubt(BackendError):
    """It is not known whether a session runs, so nothing was done about it."""

    default_code = "session_in_doubt"
    status = 503


class StartFailed(BackendError):
    """The session's process ended or never answered."""

    default_code = "start_failed"
    codes: ClassVar[tuple[str, ...]] = (
        "environment_not_local",
        "folders_failed",
        "interpreter_missing",
        "process_refused",
        "start_timeout",
    )


def failure_codes() -> tuple[str, ...]:
    """Every code with which a granted start can fail, of the errors that are defined by now."""
    found: dict[str, None] = {}
    kinds: list[type[ArcetriError]] = [StoreError, BackendError]
    while kinds:
        kind = kinds.pop(0)
        found.update(dict.fromkeys((kind.default_code, *vars(kind).get("codes", ()))))
        kinds += kind.__subclasses__()
    return tuple(found)
