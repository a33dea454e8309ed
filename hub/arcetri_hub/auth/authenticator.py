"""Login through INDIGO IAM."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from jinja2 import FileSystemLoader
from jupyterhub.traitlets import Callable
from oauthenticator.generic import GenericOAuthenticator
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.simple_httpclient import HTTPTimeoutError, SimpleAsyncHTTPClient
from traitlets import Bool, Enum, Float, Instance, List, TraitError, Unicode, default, validate

from arcetri_hub.auth import problems
from arcetri_hub.auth.answers import Answer, AnswerKind, RefusalWatch, Reply
from arcetri_hub.auth.claims import ClaimsError, Person, read_numbers, read_person
from arcetri_hub.auth.client import ClientSettings, IamClient, IamSilentError
from arcetri_hub.auth.contact import Contact
from arcetri_hub.auth.discovery import Provider, check_issuer, issuer_key
from arcetri_hub.auth.handlers import CallbackHandler, LoginHandler, LogoutHandler
from arcetri_hub.auth.idtoken import IdTokenError
from arcetri_hub.auth.record import LoginRecord
from arcetri_hub.auth.refresher import HubUser, Refresher
from arcetri_spawner import killpoints
from arcetri_spawner.groups import GroupPath, normalize_groups
from arcetri_spawner.identity import Numbers
from arcetri_spawner.policy.model import Standing

_TEMPLATES = Path(__file__).parent / "templates"
_MAX_ANSWER = 1 << 20
_AT_ONCE = 50
"""Requests to IAM that are under way at the same time."""


class AccountLike(Protocol):
    """What is used of the store's account."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def is_new(self) -> bool: ...  # noqa: D102
    @property
    def suffixed(self) -> bool: ...  # noqa: D102


class Accounts(Protocol):
    """What is used of ``arcetri_spawner.store.Store``."""

    async def account_for(
        self, issuer: str, sub: str, preferred_username: str, display_name: str = ""
    ) -> AccountLike:
        """Return the account of a person, made at their first login."""
        ...

    async def account_by_name(self, name: str) -> AccountLike | None:
        """Return the account with this name."""
        ...


class IamAuthenticator(GenericOAuthenticator):  # oauthenticator has no types
    """Logs people in through INDIGO IAM, and asks it again and again whether they may stay.

    A person is (issuer, ``sub``); their JupyterHub name is their account's in the store. Groups
    and standing come from a refresh followed by userinfo, at login too: IAM redeems the login code
    of a suspended account, and only a refresh shows the suspension.

    The callables of the configuration must be functions, not bound methods: JupyterHub copies its
    configuration deeply, and with a method the object it belongs to.
    """

    login_handler = LoginHandler
    callback_handler = CallbackHandler
    logout_handler = LogoutHandler

    issuer = Unicode(help="URL of the issuer, with or without a slash at its end.").tag(config=True)
    client_secret_file = Unicode(
        help="A file that holds the client's secret and nothing else; read at each use, so that "
        "a new secret needs no restart. Wins over client_secret."
    ).tag(config=True)
    scope = List(
        Unicode(),
        default_value=["openid", "profile", "email", "wlcg.groups", "offline_access"],
        help="What to ask for. Without offline_access nobody's standing can be checked again.",
    ).tag(config=True)
    refusal = Callable(
        help="Returns why somebody with these groups may not log in, now, or None when they may: "
        "(set of group paths) -> Reason or None."
    ).tag(config=True)
    # Deliberately not the base class's set: who administers is read from the current catalog.
    admin_groups = Callable(
        default_value=frozenset,
        help="Returns the groups whose members administer: () -> set of group paths.",
    ).tag(config=True)
    store_getter = Callable(help="Returns the store of accounts: () -> Store.").tag(config=True)
    page_handlers = Callable(
        default_value=lambda _app: [],
        help="Returns handlers registered before all others: (app) -> list of handlers.",
    ).tag(config=True)
    on_hub_ready = Callable(
        default_value=lambda _app: None,
        help="Called in the hub's running loop when its users and settings exist: (app) -> None.",
    ).tag(config=True)
    observe_answer = Callable(
        default_value=lambda _kind: None,
        help="Called with the kind of each of IAM's answers: (kind) -> None.",
    ).tag(config=True)
    groups_claim = Unicode(
        help="Read groups from this claim only; empty: from whichever of the known ones is there."
    ).tag(config=True)
    entitlement_namespace = Unicode(
        help="Accept only group entitlements of this namespace (urn:geant:iam.example); empty: any."
    ).tag(config=True)
    uid_claim = Unicode(help="Claim with a person's numeric id; empty: none has one.").tag(
        config=True
    )
    gids_claim = Unicode(
        help="Claim with an object from group paths to numeric ids; empty: there is none."
    ).tag(config=True)
    iam_logout = Enum(
        ["link", "redirect", "none"],
        default_value="link",
        help="After a logout from the hub: link to IAM's own logout, go there at once, or neither. "
        "Where IAM's metadata offers an end_session_endpoint, that is where the link or the way "
        "leads, and the browser comes back; register the hub's logout address for it.",
    ).tag(config=True)
    iam_timeout = Float(10.0, help="Seconds for one answer of IAM.").tag(config=True)
    refresh_wait = Float(
        3.0,
        help="Seconds a page waits for a refresh under way; it is then shown with what was known, "
        "and the refresh goes on.",
    ).tag(config=True)
    refresh_reuse = Float(
        5.0, help="Seconds for which IAM's answer serves JupyterHub's own refreshes again."
    ).tag(config=True)

    enable_auth_state = Bool(True, help="Always on: a login is kept, encrypted.").tag(config=True)
    manage_groups = Bool(True, help="Always on: groups are IAM's.").tag(config=True)
    basic_auth = Bool(
        True, help="Send the secret in the Authorization header rather than in the form."
    ).tag(config=True)

    # Made on first use, when the configuration is complete.
    client = Instance(IamClient)
    refresher = Instance(Refresher)
    contact = Instance(Contact)
    _turn = Instance(asyncio.Semaphore)

    @default("_turn")
    def _turn_default(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(_AT_ONCE)

    @default("client")
    def _client_default(self) -> IamClient:
        if not self.issuer or not self.client_id:
            raise TraitError("IamAuthenticator needs issuer and client_id")
        settings = ClientSettings(
            issuer=self.issuer,
            client_id=self.client_id,
            client_secret=self._secret,
            basic=self.basic_auth,
            timeout=self.iam_timeout,
        )
        return IamClient(settings, self.fetch)

    @default("refresher")
    def _refresher_default(self) -> Refresher:
        return Refresher(
            self.client,
            self,
            RefusalWatch(time.monotonic),
            observe=lambda kind: self.observe_answer(kind),
            log=self.log,
            clock=time.monotonic,
        )

    @default("contact")
    def _contact_default(self) -> Contact:
        return Contact(self.client, self.log, time.monotonic)

    @default("login_service")
    def _login_service_default(self) -> str:
        return "INDIGO IAM"

    @default("http_client")
    def _http_client_default(self) -> SimpleAsyncHTTPClient:
        return SimpleAsyncHTTPClient(
            force_instance=True,
            max_clients=_AT_ONCE,
            max_body_size=_MAX_ANSWER,
            defaults={"validate_cert": self.validate_server_cert},
        )

    @default("any_allow_config")
    def _any_allow_config_default(self) -> bool:
        return True

    @default("refresh_pre_spawn")
    def _refresh_pre_spawn_default(self) -> bool:
        # Every start asks through HubIdentities; JupyterHub's own refresh is weaker.
        return False

    @validate("enable_auth_state", "enable_pkce", "manage_groups")
    def _insist(self, proposal: Any) -> bool:
        if not proposal["value"]:
            raise TraitError(f"IamAuthenticator does not work without {proposal['trait'].name}")
        return True

    @validate("issuer")
    def _validate_issuer(self, proposal: Any) -> str:
        try:
            return check_issuer(proposal["value"])
        except ValueError as error:
            raise TraitError(str(error)) from None

    # -- What the login page and the login's start ask ------------------------------------------

    def get_custom_html(self, base_url: str) -> str:
        """Say on the login page when IAM is away; JupyterHub renders this as a template."""
        if not self.contact.away:
            return str(super().get_custom_html(base_url))
        return _AWAY

    async def reachable(self) -> Provider:
        """Return the issuer's endpoints, having made sure that it answers now.

        Raises:
            IamSilentError: It does not.
        """
        await self.contact.check()
        return await self.client.find()

    async def endpoints(self) -> Provider:
        """Return the issuer's endpoints, asking only where they are not known yet.

        Raises:
            IamSilentError: They are not known, and IAM gives no usable answer.
        """
        return await self.client.find()

    def get_handlers(self, app: Any) -> list[Any]:
        """Return all our pages, ours before JupyterHub's; called once, in the hub's loop."""
        # Both of JupyterHub's environments share this loader.
        app.tornado_settings["jinja2_env"].loader.loaders.append(FileSystemLoader(_TEMPLATES))
        self.contact.watch()
        self.on_hub_ready(app)
        return [*self.page_handlers(app), *super().get_handlers(app)]

    # -- Logging in -----------------------------------------------------------------------------

    async def authenticate(
        self,
        handler: CallbackHandler,
        data: Any = None,  # noqa: ARG002  # JupyterHub's signature
        **_kwargs: Any,
    ) -> dict[str, Any]:
        """Turn a login's code into a person who may be here.

        Raises:
            LoginProblem: With the page to show.
        """
        state = handler.login_state
        verifier, nonce = state.get("code_verifier"), state.get("nonce")
        if not isinstance(verifier, str) or not isinstance(nonce, str):
            raise problems.state_lost()
        try:
            person, numbers, tokens = await self._identify(
                handler.query("code"), verifier, nonce, self.get_callback_url(handler)
            )
        except IamSilentError as error:
            self.refresher.judge("", Answer(AnswerKind.UNKNOWN, error.code))
            self.log.warning("A login failed: IAM gave no answer (%s).", error.code)
            raise problems.iam_silent(self.login_service) from None
        except (IdTokenError, ClaimsError) as error:
            code = error.code if isinstance(error, IdTokenError) else "nonsense"
            self.refresher.judge("", Answer(AnswerKind.UNKNOWN, code))
            self.log.error("A login failed: IAM's answer proves nothing (%s).", code)
            raise problems.bad_answer(self.login_service) from None
        refusal = self.refusal(person.groups)
        if refusal is not None:
            self.log.info("A login was refused: %s", refusal.code)
            raise problems.refused(refusal)
        return await self._model(handler, person, numbers, tokens)

    async def _identify(
        self, code: str, verifier: str, nonce: str, redirect_uri: str
    ) -> tuple[Person, Numbers, Mapping[str, Any]]:
        """Redeem the code, prove who it is, ask whether they are welcome, and who they are."""
        answer = self.refresher.judge("", await self.client.exchange(code, verifier, redirect_uri))
        if answer.kind is not AnswerKind.ADMITTED:
            raise self._refused(answer, at_code=True)
        tokens = answer.fields
        sub = (await self.client.id_claims(_text(tokens, "id_token"), nonce=nonce))["sub"]
        if "refresh_token" in tokens:
            answer = self.refresher.judge(sub, await self.client.refresh(tokens["refresh_token"]))
            if answer.kind is not AnswerKind.ADMITTED:
                raise self._refused(answer)
            tokens = {"refresh_token": tokens["refresh_token"], **answer.fields}
        else:
            self.log.warning(
                "IAM gave no refresh token: register the client with offline_access, or nobody's "
                "standing can be checked after the login."
            )
        answer = await self.client.userinfo(tokens["access_token"])
        if answer.kind is not AnswerKind.ADMITTED:
            self.refresher.judge("", Answer(AnswerKind.UNKNOWN, answer.code))
            raise self._refused(Answer(AnswerKind.UNKNOWN, answer.code))
        person = self.person(answer.fields)
        if person.sub != sub:
            raise IdTokenError("wrong_sub")
        return person, self.numbers(answer.fields), tokens

    async def _model(
        self, handler: CallbackHandler, person: Person, numbers: Numbers, tokens: Mapping[str, Any]
    ) -> dict[str, Any]:
        issuer = issuer_key(self.issuer)
        account = await self.store_getter().account_for(
            issuer, person.sub, person.label, person.display_name
        )
        refresh_token = tokens.get("refresh_token")
        record = LoginRecord(
            account_id=account.id,
            issuer=issuer,
            sub=person.sub,
            label=person.label,
            display_name=person.display_name,
            groups=tuple(sorted(person.groups)),
            standing=Standing.ADMITTED,
            checked_at=datetime.now(UTC),
            suffixed=account.suffixed,
            uid=numbers.uid,
            gids=numbers.gids,
            refresh_token=refresh_token,
            access_token=None if refresh_token else tokens["access_token"],
        )
        if account.is_new and account.name != person.label:
            handler.notice = problems.new_name(person.label, account.name, taken=account.suffixed)
        self.refresher.logged_in(account.name, record)
        # JupyterHub writes what follows, as soon as it has it.
        killpoints.reach("login.writing")
        return {
            "name": account.name,
            "admin": self.administers(person.groups),
            "groups": list(record.groups),
            "auth_state": record.dump(),
        }

    def _refused(self, answer: Answer, *, at_code: bool = False) -> problems.LoginProblem:
        self.log.warning("A login failed: IAM answered %s (%s).", answer.kind.value, answer.code)
        return problems.of_answer(self.login_service, answer, at_code=at_code)

    def normalize_username(self, username: str) -> str:
        """Leave names alone: the store made them, and folding two into one would mix accounts."""
        return username

    async def check_allowed(self, username: str, auth_model: dict[str, Any] | None) -> bool:  # noqa: ARG002
        """Whether a person may log in; ``authenticate`` has refused them before, with reasons."""
        return self.refusal(normalize_groups((auth_model or {}).get("groups") or ())) is None

    # -- Staying welcome ------------------------------------------------------------------------

    async def refresh_user(self, user: HubUser, handler: Any = None, **_kwargs: Any) -> bool:  # noqa: ARG002
        """Ask IAM again, as JupyterHub does every ``auth_refresh_age`` seconds.

        Returns:
            False when IAM does not admit the person; True when it does, or does not say. What it
            said is stored by then: handing it to JupyterHub to be stored again could put an old
            refresh token over one that was rotated in the meantime.
        """
        try:
            outcome = await asyncio.wait_for(
                self.refresher.fresh(user, reuse=self.refresh_reuse), self.refresh_wait
            )
        except TimeoutError:
            return True
        return outcome.standing is not Standing.NOT_ADMITTED

    # -- How this site's claims are read --------------------------------------------------------

    def person(self, claims: Mapping[str, Any]) -> Person:
        """Read who is meant; raises ClaimsError."""
        return read_person(
            claims,
            groups_claim=self.groups_claim,
            entitlement_namespace=self.entitlement_namespace,
        )

    def numbers(self, claims: Mapping[str, Any]) -> Numbers:
        """Read numeric ids."""
        return read_numbers(claims, uid_claim=self.uid_claim, gids_claim=self.gids_claim)

    def administers(self, groups: frozenset[GroupPath]) -> bool:
        """Whether one of these groups administers the platform now."""
        return bool(groups & normalize_groups(self.admin_groups()))

    # -- The wire -------------------------------------------------------------------------------

    async def fetch(
        self,
        req: HTTPRequest,
        label: str = "",  # noqa: ARG002  # the base class's signature
        parse_json: bool = False,  # noqa: ARG002
        **_kwargs: Any,
    ) -> Reply:
        """Send a request, and return what came of it.

        The base class logs a refusal's body, which holds a token with IAM; nothing is logged here.
        """
        for name, value in self.http_request_kwargs.items():
            setattr(req, name, value)
        try:
            # The client counts the time in its own queue as IAM's: when hundreds of people start
            # at once, IAM would seem to be away.
            async with self._turn:
                response = await self.http_client.fetch(req, raise_error=False)
        except HTTPTimeoutError:
            reply = Reply(None, reason="timeout")
        except (HTTPClientError, OSError, ValueError):
            reply = Reply(None, reason="no_connection")
        else:
            reply = Reply(response.code, response.body or b"")
        self.contact.note(reply)
        return reply

    def _secret(self) -> str:
        if not self.client_secret_file:
            return str(self.client_secret)
        try:
            return Path(self.client_secret_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise IamSilentError("no_client_secret") from None


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise IdTokenError("missing")
    return value


_AWAY = """
{% set service = authenticator.login_service %}
<div class="service-login" role="status">
  <p><strong>{{ ((service[:1] | upper) ~ service[1:]) | e }} does not answer at the moment</strong>,
  so nobody new can log in. Sessions that are running go on undisturbed.</p>
  <a role="button" class="btn btn-jupyter btn-lg"
     href="{{ authenticator_login_url | e }}">Try again</a>
</div>
"""
