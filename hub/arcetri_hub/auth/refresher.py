"""Asking IAM again whether a person is still welcome, and keeping what it answers.

Why each step is where it is:

- One question at a time for a person. A refresh kills the access tokens of the refresh before,
  and with rotation the refresh token itself: two at once would spoil each other.
- The question runs in a task of its own. A browser that goes away must not cancel it between
  IAM's answer and our writing down a rotated token.
- A rotated refresh token is written before anything else is asked.
- Before writing, the stored login must still be the one the question was about: a login in the
  meantime is newer, and wins.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from jupyterhub import roles
from jupyterhub.crypto import encrypt
from sqlalchemy.exc import SQLAlchemyError

from arcetri_hub.auth.answers import Answer, AnswerKind, RefusalWatch
from arcetri_hub.auth.claims import ClaimsError, Person
from arcetri_hub.auth.client import IamClient, IamSilentError
from arcetri_hub.auth.discovery import issuer_key
from arcetri_hub.auth.idtoken import IdTokenError
from arcetri_hub.auth.record import LoginRecord
from arcetri_spawner import killpoints
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.identity import Numbers
from arcetri_spawner.policy.model import Standing


class HubUser(Protocol):
    """What is used of ``jupyterhub.user.User``."""

    id: int
    name: str
    admin: bool
    encrypted_auth_state: bytes | None
    db: Any

    async def get_auth_state(self) -> Any:
        """Decrypt what is kept of the login."""
        ...

    def sync_groups(self, group_names: list[str]) -> None:
        """Make these the user's groups in JupyterHub's tables."""
        ...


class Reader(Protocol):
    """How claims are read at this site; the authenticator's configuration decides."""

    def person(self, claims: Any) -> Person:
        """Read who is meant; raises ClaimsError."""
        ...

    def numbers(self, claims: Any) -> Numbers:
        """Read numeric ids."""
        ...

    def administers(self, groups: frozenset[GroupPath]) -> bool:
        """Whether one of these groups makes an administrator."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is known of a person after asking."""

    standing: Standing
    record: LoginRecord | None
    """Their login as last known; None when there is none that can be used."""


class Refresher:
    """Asks for one person at a time, and lets one answer serve all who wait for it."""

    def __init__(
        self,
        client: IamClient,
        reader: Reader,
        watch: RefusalWatch,
        *,
        observe: Callable[[str], None],
        log: logging.Logger,
        clock: Callable[[], float],
    ) -> None:
        """Create a refresher.

        Args:
            client: Asks IAM.
            reader: Reads claims.
            watch: Tells a wrong client secret from suspended people.
            observe: Called with each answer's kind, for the metric.
            log: Gets names and codes, never what IAM wrote.
            clock: Seconds, monotonic.
        """
        self._client = client
        self._reader = reader
        self._watch = watch
        self._observe = observe
        self._log = log
        self._clock = clock
        self._running: dict[str, asyncio.Task[Outcome]] = {}
        self._last: dict[str, tuple[float, Outcome]] = {}
        self._opened: dict[str, tuple[bytes, LoginRecord]] = {}
        """By name, what was stored last and what it says: unsealing it again takes a while."""

    async def fresh(self, user: HubUser, *, reuse: float = 0.0) -> Outcome:
        """Ask IAM, or share the answer of a question under way.

        Args:
            user: Who is meant.
            reuse: Seconds for which an answer, or a login, will do; a start asks anew.
        """
        last = self._last.get(user.name)
        if last is not None and self._clock() - last[0] < reuse:
            return last[1]
        task = self._running.get(user.name)
        if task is None:
            task = asyncio.create_task(self._run(user), name=f"refresh-{user.name}")
            self._running[user.name] = task
        return await asyncio.shield(task)

    async def known(self, user: HubUser) -> Outcome:
        """Return what is known without asking; unknown when IAM was silent the last time."""
        stored = _stored((await self._open(user))[0])
        last = self._last.get(user.name)
        if last is not None and last[1].standing is Standing.UNKNOWN and stored.record is not None:
            return Outcome(Standing.UNKNOWN, stored.record)
        return stored

    def logged_in(self, name: str, record: LoginRecord) -> None:
        """Take note of a login: its answer is as good as a refresh."""
        self._last[name] = (self._clock(), Outcome(record.standing, record))

    def judge(self, person: str, answer: Answer) -> Answer:
        """Count an answer and see it in the light of the others.

        Also called for the answers of a login, which are not asked for here.
        """
        suspected = self._watch.suspected
        judged = self._watch.judge(person, answer)
        self._observe(judged.kind.value)
        if self._watch.suspected and not suspected:
            self._log.error(
                "IAM refuses the hub itself (%s): the client id or secret of %s may be wrong. "
                "Nobody can log in or start a session until it is right.",
                judged.code,
                self._client.settings.client_id,
            )
        return judged

    async def _run(self, user: HubUser) -> Outcome:
        name = user.name
        try:
            outcome = await self._ask(user)
        except SQLAlchemyError as error:
            # The user was deleted meanwhile, or the database cannot be written.
            user.db.rollback()
            # Without its parameters, which are what was to be stored.
            self._log.error(
                "What IAM said of %s could not be stored: %s", name, type(error).__name__
            )
            outcome = Outcome(Standing.UNKNOWN, None)
        finally:
            del self._running[name]
        self._last[name] = (self._clock(), outcome)
        return outcome

    async def _ask(self, user: HubUser) -> Outcome:
        record, before = await self._open(user)
        if record is None or record.issuer != issuer_key(self._client.settings.issuer):
            # Never send one issuer's token to another.
            return Outcome(Standing.NOT_ADMITTED, None)
        try:
            answer, record, before = await self._question(user, record, before)
        except (IamSilentError, IdTokenError, ClaimsError) as error:
            code = error.code if not isinstance(error, ClaimsError) else "nonsense"
            answer = self.judge(user.name, Answer(AnswerKind.UNKNOWN, code))
        if answer.kind in (AnswerKind.UNKNOWN, AnswerKind.CLIENT_REFUSED):
            self._log.warning("IAM did not say whether %s is admitted: %s", user.name, answer.code)
            return Outcome(Standing.UNKNOWN, record)
        if answer.kind is AnswerKind.NOT_ADMITTED:
            self._log.info("IAM does not admit %s: %s", user.name, answer.code)
            record = replace(record, standing=Standing.NOT_ADMITTED, checked_at=datetime.now(UTC))
        if await self._save(user, record, before) is None:
            return _stored((await self._open(user))[0])
        self._apply(user, record)
        return Outcome(record.standing, record)

    async def _question(
        self, user: HubUser, record: LoginRecord, before: bytes | None
    ) -> tuple[Answer, LoginRecord, bytes | None]:
        """Refresh, then userinfo; return the answer, the record it makes, and what is stored."""
        if record.refresh_token is None:
            if record.access_token is None:
                return Answer(AnswerKind.NOT_ADMITTED, "no_token"), record, before
            access_token = record.access_token
        else:
            answer = self.judge(user.name, await self._client.refresh(record.refresh_token))
            if answer.kind is not AnswerKind.ADMITTED:
                return answer, record, before
            access_token = answer.fields["access_token"]
            rotated = answer.fields.get("refresh_token")
            if rotated is not None and rotated != record.refresh_token:
                record = replace(record, refresh_token=rotated)
                saved = await self._save(user, record, before)
                if saved is None:
                    return Answer(AnswerKind.UNKNOWN, "superseded"), record, before
                before = saved
            id_token = answer.fields.get("id_token")
            if isinstance(id_token, str):
                claims = await self._client.id_claims(id_token)
                if claims["sub"] != record.sub:
                    raise IdTokenError("wrong_sub")
        answer = await self._client.userinfo(access_token)
        if answer.kind is AnswerKind.NOT_ADMITTED and record.refresh_token is not None:
            # The refresh just admitted them; only its token was dead already.
            answer = Answer(AnswerKind.UNKNOWN, answer.code)
        self._observe(answer.kind.value)
        if answer.kind is not AnswerKind.ADMITTED:
            return answer, record, before
        return answer, self._told(record, answer), before

    def _told(self, record: LoginRecord, answer: Answer) -> LoginRecord:
        person = self._reader.person(answer.fields)
        if person.sub != record.sub:
            raise IdTokenError("wrong_sub")
        numbers = self._reader.numbers(answer.fields)
        return replace(
            record,
            label=person.label,
            display_name=person.display_name,
            groups=tuple(sorted(person.groups)),
            standing=Standing.ADMITTED,
            checked_at=datetime.now(UTC),
            uid=numbers.uid,
            gids=numbers.gids,
        )

    async def _save(self, user: HubUser, record: LoginRecord, before: bytes | None) -> bytes | None:
        """Write the record; return what is stored now, None when a login came first."""
        sealed: bytes = await encrypt(record.dump())
        # From here to the commit nothing is awaited, so no login can come between.
        if user.encrypted_auth_state != before:
            return None
        killpoints.reach("refresh.writing")
        user.encrypted_auth_state = sealed
        user.db.commit()
        killpoints.reach("refresh.written")
        self._opened[user.name] = sealed, record
        return sealed

    async def _open(self, user: HubUser) -> tuple[LoginRecord | None, bytes | None]:
        """Read the stored login; return it with what is stored, which tells it from a later one."""
        while True:
            sealed = user.encrypted_auth_state
            known = self._opened.get(user.name)
            if known is not None and known[0] == sealed:
                return known[1], sealed
            record = LoginRecord.load(await user.get_auth_state())
            if user.encrypted_auth_state == sealed:
                return record, sealed

    def _apply(self, user: HubUser, record: LoginRecord) -> None:
        """Let JupyterHub's own tables say the same: groups, and who is an administrator."""
        admitted = record.standing is Standing.ADMITTED
        admin = admitted and self._reader.administers(frozenset(record.groups))
        if user.admin != admin:
            user.admin = admin
            roles.assign_default_roles(user.db, entity=user)
            user.db.commit()
        if admitted:
            user.sync_groups(list(record.groups))


def _stored(record: LoginRecord | None) -> Outcome:
    return Outcome(record.standing if record else Standing.NOT_ADMITTED, record)
