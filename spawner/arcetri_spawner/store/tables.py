"""Arcetri's tables. All carry a prefix, because JupyterHub's own lie beside them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: aware when written, UTC and aware when read, on every database."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a moment without time zone."""
        del dialect
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without time zone cannot be stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """SQLite forgets the time zone, PostgreSQL answers in the connection's."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Maps Python's types to columns; names constraints, so that migrations can name them too."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own declaration
        datetime: UtcDateTime,
        dict[str, Any]: JSON,
        list[dict[str, Any]]: JSON,
    }


class AccountTable(Base):
    """A person. Rows are never deleted: that is what keeps a name from being given twice."""

    __tablename__ = "arcetri_account"
    __table_args__ = (UniqueConstraint("issuer", "sub"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    issuer: Mapped[str] = mapped_column(String(512))
    sub: Mapped[str] = mapped_column(String(255))
    label: Mapped[str] = mapped_column(Text)
    display_name: Mapped[str] = mapped_column(Text)
    suffixed: Mapped[bool]
    created_at: Mapped[datetime]


class PosixIdTable(Base):
    """A numeric id of a user or a group. Rows are never deleted: files outlive their owners."""

    __tablename__ = "arcetri_posix_id"
    __table_args__ = (UniqueConstraint("kind", "number"),)

    kind: Mapped[str] = mapped_column(String(8), primary_key=True)
    """``user`` or ``group``."""
    key: Mapped[str] = mapped_column(String(600), primary_key=True)
    """An account's id, a group's path, or ``account:ID`` for the account's private group."""
    name: Mapped[str] = mapped_column(String(600))
    number: Mapped[int]
    claimed: Mapped[bool]
    created_at: Mapped[datetime]


class RequestTable(Base):
    """What a person asked for and policy granted."""

    __tablename__ = "arcetri_request"
    __table_args__ = (
        # Two starts of one server at the same instant: the second insert fails.
        Index(
            "uq_arcetri_request_live_server",
            "account_id",
            "server_name",
            unique=True,
            sqlite_where=text("state <> 'ended'"),
            postgresql_where=text("state <> 'ended'"),
        ),
        Index("ix_arcetri_request_account_id_ended_at", "account_id", "ended_at"),
        Index("ix_arcetri_request_state", "state"),
        Index("ix_arcetri_request_place", "place"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("arcetri_account.id"))
    username: Mapped[str] = mapped_column(String(64))
    server_name: Mapped[str] = mapped_column(String(255))
    group: Mapped[str] = mapped_column("charged_group", String(512))
    flavor: Mapped[str] = mapped_column(String(255))
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(String(64))
    message: Mapped[str] = mapped_column(Text)
    grant: Mapped[dict[str, Any]] = mapped_column("granted")
    asked_at: Mapped[datetime]
    changed_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    place: Mapped[int] = mapped_column(server_default="0")
    """Grows with each request: who has the smaller one asked earlier, whatever the clock did."""
    admitted_at: Mapped[datetime | None]
    hold_until: Mapped[datetime | None]
    """Until when it is kept though its start cannot be decided, or though nobody has opened what
    started by itself; None where neither is so."""
    details: Mapped[str | None] = mapped_column(Text)
    """Of an ended one: what was said of its end, word for word."""
    by_itself: Mapped[bool] = mapped_column(server_default=false())
    """Whether it started because it was its turn, and not because its user asked just then."""
    returns: Mapped[bool | None]
    """False where its user does not want it back in line, should its session be ended for others;
    True from when it is about to be ended so, and goes back."""


class LeaseTable(Base):
    """Who holds a device. The primary key is what makes a second lease of it impossible."""

    __tablename__ = "arcetri_lease"

    device_uuid: Mapped[str] = mapped_column(String(128), primary_key=True)
    request_id: Mapped[UUID] = mapped_column(ForeignKey("arcetri_request.id"), unique=True)
    flavor: Mapped[str] = mapped_column(String(255))
    model: Mapped[str] = mapped_column(String(255))
    simulated: Mapped[bool]
    leased_at: Mapped[datetime]


class SessionTable(Base):
    """The process behind a request."""

    __tablename__ = "arcetri_session"

    id: Mapped[UUID] = mapped_column(ForeignKey("arcetri_request.id"), primary_key=True)
    devices: Mapped[list[dict[str, Any]]]
    pid: Mapped[int]
    pid_start_ticks: Mapped[int] = mapped_column(BigInteger)
    boot_id: Mapped[str] = mapped_column(String(64))
    port: Mapped[int]
    base_url: Mapped[str] = mapped_column(Text)
    state: Mapped[dict[str, Any]]
    started_at: Mapped[datetime]


class ChoiceTable(Base):
    """What a person chose last."""

    __tablename__ = "arcetri_choice"

    account_id: Mapped[str] = mapped_column(ForeignKey("arcetri_account.id"), primary_key=True)
    choice: Mapped[dict[str, Any]]
    chosen_at: Mapped[datetime]
