"""The errors of the ledger.

::

    LedgerError             has a code, a sentence and a remedy; may be shown to a person
    ├── Refused             what was asked cannot be done: a wrong option, file or record
    │   ├── Unauthorized    no token, or none that is known
    │   ├── Forbidden       a known token that may not do this
    │   ├── TooLarge        more than is taken in one go
    │   └── TooMany         too many requests of one writer or reader
    ├── ReviewUnavailable   whose token it is cannot be found out now
    └── DatabaseError       the database cannot be read or written
        ├── Busy            another process holds it for longer than we wait
        └── StorageFull     its disk is full

Codes are stable: scripts and tests match on them. Sentences and remedies may be reworded.
"""

from __future__ import annotations

from typing import ClassVar


class LedgerError(Exception):
    """An error that may be shown to a person.

    Attributes:
        code: A stable word such as ``node_mismatch``.
        message: One sentence that says what is wrong.
        remedy: What to do about it.
        status: The HTTP status that fits.
    """

    default_code: ClassVar[str] = "ledger_failed"
    status: int = 500

    def __init__(self, message: str, *, code: str | None = None, remedy: str = "") -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class Refused(LedgerError):
    """What was asked cannot be done."""

    default_code = "refused"
    status = 422


class Unauthorized(Refused):
    """There is no token, or none that is known."""

    default_code = "unauthorized"
    status = 401


class Forbidden(Refused):
    """The token is known, and may not do this."""

    default_code = "forbidden"
    status = 403


class TooLarge(Refused):
    """More than is taken in one go."""

    default_code = "too_large"
    status = 413


class TooMany(Refused):
    """Too many requests of one writer or reader."""

    default_code = "too_many_requests"
    status = 429
    wait: int = 5
    """Seconds after which to ask again."""


class ReviewUnavailable(LedgerError):
    """Whose token it is cannot be found out now; nothing of what was asked was done."""

    default_code = "token_review_unavailable"
    status = 503


class DatabaseError(LedgerError):
    """The database cannot be read or written; nothing of what was asked was stored."""

    default_code = "database_unavailable"
    status = 503


class Busy(DatabaseError):
    """Another process holds what is needed for longer than we wait."""

    default_code = "database_locked"


class StorageFull(DatabaseError):
    """The disk of the database is full."""

    default_code = "storage_full"
    status = 507
