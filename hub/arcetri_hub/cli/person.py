"""Which groups a person is in, as far as this machine knows, without asking anybody."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from arcetri_hub.settings import Settings, SettingsError, read_settings
from arcetri_spawner.errors import ArcetriError
from arcetri_spawner.groups import GroupPath


@dataclass(frozen=True, slots=True)
class KnownPerson:
    """A person's groups, and how they are known."""

    name: str
    groups: frozenset[GroupPath]
    source: str
    """Where the groups come from, for a sentence: "at the last log-in, ..."."""


def settings_of(state: Path) -> Settings | None:
    """Return what the platform of a state folder was told; None when there is no such platform.

    Raises:
        ArcetriError: Its settings cannot be read.
    """
    file = state / "settings.json"
    try:
        if not file.exists():
            return None
        return read_settings(file)
    except (OSError, SettingsError) as error:
        raise ArcetriError(str(error)) from error


def find_person(name: str, state: Path) -> KnownPerson:
    """Return what is known of a person: from their last log-in, or as the demonstration ships them.

    Raises:
        ArcetriError: Nothing is known of them.
    """
    settings = settings_of(state)
    if settings is not None:
        known = _last_login(name, settings)
        if known is not None:
            return known
    if settings is None or settings.iam.development:
        demo = _demonstration(name)
        if demo is not None:
            return demo
    text = (
        f"{name} has never logged in to the platform of {state}"
        if settings is not None
        else f"Nothing is known of {name}: {state} is no state folder of a platform"
    )
    if settings is None or settings.iam.development:
        text += ", and it is no user of the demonstration"
    raise ArcetriError(
        f"{text}.",
        code="person_unknown",
        remedy="Name the groups instead, with --groups /a,/b; or another folder with --state.",
    )


def _last_login(name: str, settings: Settings) -> KnownPerson | None:
    # Imported late: only this way of asking needs a database and JupyterHub.
    from cryptography.fernet import Fernet, InvalidToken
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import SQLAlchemyError

    from arcetri_hub.auth.record import LoginRecord

    if settings.crypt_key_file is None:
        return None
    try:
        key = bytes.fromhex(settings.crypt_key_file.read_text(encoding="utf-8").strip())
        engine = create_engine(settings.database_url)
        try:
            with engine.connect() as database:
                row = database.execute(
                    text("SELECT encrypted_auth_state FROM users WHERE name = :name"),
                    {"name": name},
                ).first()
        finally:
            engine.dispose()
        if row is None or row[0] is None:
            return None
        # As JupyterHub's CryptKeeper encrypts it, which cannot be had without its application.
        kept = json.loads(Fernet(base64.urlsafe_b64encode(key)).decrypt(bytes(row[0])))
    except (OSError, ValueError, SQLAlchemyError, InvalidToken):
        # No log-in yet (no table), or a folder that another account keeps to itself.
        return None
    record = LoginRecord.load(kept)
    if record is None:
        return None
    when = record.checked_at.strftime("%Y-%m-%d %H:%M %Z")
    return KnownPerson(name, frozenset(record.groups), f"as {record.issuer} said at {when}")


def _demonstration(name: str) -> KnownPerson | None:
    from arcetri_hub.devidp.demo import DEMO_USERS

    for user in DEMO_USERS:
        if user.name == name:
            return KnownPerson(name, frozenset(user.memberships), "as the demonstration ships them")
    return None
