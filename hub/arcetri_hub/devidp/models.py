"""What the development IAM knows: people, clients, its key, and what it has issued.

All of it is one document, the state file. Tokens, codes and browser sessions are kept as
digests, never as themselves; the demonstration's passwords, which are published, are kept as
they are. Groups are written IAM's way: full paths without a leading slash.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

Profile = Literal["iam", "wlcg", "aarc", "kc"]
PROFILES: Final[tuple[Profile, ...]] = ("iam", "wlcg", "aarc", "kc")

DEFAULT_SCOPES: Final = (
    "openid",
    "profile",
    "email",
    "offline_access",
    "wlcg.groups",
    "eduperson_entitlement",
)

Seconds = Annotated[int, Field(ge=1, le=10 * 365 * 86400)]
UnixTime = int


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_assignment=True)


class User(_Model):
    """A person; ``sub`` never changes, ``username`` (the preferred_username) can."""

    sub: str
    username: str
    password: str
    given_name: str
    family_name: str
    email: str
    can: str = ""
    groups: list[str] = []
    active: bool = True
    policy_signed: bool = True
    updated_at: UnixTime

    @property
    def display_name(self) -> str:
        """The person's name as others write it."""
        return f"{self.given_name} {self.family_name}".strip()


class Client(_Model):
    """A registered client. Its scopes, not its requests, decide the form of its claims."""

    client_id: str
    secret: str
    name: str
    redirect_uris: list[str]
    post_logout_redirect_uris: list[str] = []
    scopes: list[str]
    consent: bool = False
    rotate_refresh_tokens: bool = False
    access_lifetime: Seconds = 3600
    id_token_lifetime: Seconds = 600
    refresh_lifetime: Seconds = 30 * 86400

    @property
    def profile(self) -> Profile:
        """The claim profile: the one registered profile scope, or ``iam`` if not exactly one."""
        named = [profile for profile in PROFILES if profile in self.scopes]
        return named[0] if len(named) == 1 else "iam"

    def set_profile(self, profile: Profile) -> None:
        """Register exactly one profile scope."""
        self.scopes = [scope for scope in self.scopes if scope not in PROFILES] + [profile]


class SigningKey(_Model):
    """The one RSA key that signs, as PKCS 8 in PEM."""

    kid: str
    pem: str


class Code(_Model):
    """An authorization code that was not redeemed yet."""

    sub: str
    client_id: str
    redirect_uri: str | None
    scope: str
    nonce: str | None
    audience: str | None
    challenge: str
    expires_at: UnixTime


class RefreshToken(_Model):
    """A refresh token; ``expires_at`` is counted from the login and never moves."""

    sub: str
    client_id: str
    scope: str
    nonce: str | None
    audience: str | None
    expires_at: UnixTime


class AccessToken(_Model):
    """An access token; ``claims`` are the group claims copied into it when it was made."""

    sub: str
    client_id: str
    scope: str
    claims: dict[str, list[str]]
    issued_at: UnixTime
    expires_at: UnixTime
    refresh: str | None


class BrowserSession(_Model):
    """A browser that is logged in."""

    sub: str
    expires_at: UnixTime


class State(_Model):
    """Everything, as written to the state file. The dictionaries are keyed by digests."""

    version: Literal[1] = 1
    key: SigningKey
    users: list[User] = []
    groups: list[str] = []
    clients: list[Client] = []
    codes: dict[str, Code] = {}
    refresh_tokens: dict[str, RefreshToken] = {}
    access_tokens: dict[str, AccessToken] = {}
    sessions: dict[str, BrowserSession] = {}
    approvals: dict[str, dict[str, list[str]]] = {}
    form_token: str = Field(default_factory=lambda: secrets.token_urlsafe(32))

    def prune(self, now: UnixTime) -> None:
        """Forget what has expired."""
        self.codes = {k: v for k, v in self.codes.items() if v.expires_at > now}
        self.refresh_tokens = {k: v for k, v in self.refresh_tokens.items() if v.expires_at > now}
        self.access_tokens = {k: v for k, v in self.access_tokens.items() if v.expires_at > now}
        self.sessions = {k: v for k, v in self.sessions.items() if v.expires_at > now}
