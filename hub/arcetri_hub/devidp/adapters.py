"""What Authlib asks about: requests, clients, codes, tokens, and errors in IAM's words."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

# Authlib ships no types: what comes from it is Any, and checked by the tests at the wire
from authlib.oauth2.base import OAuth2Error
from authlib.oauth2.rfc6749 import ClientMixin, OAuth2Payload, OAuth2Request

from arcetri_hub.devidp.models import Client, Code, RefreshToken

# Subclassing untyped classes is what Authlib's extension points are:
# mypy: disable-error-code="misc"

Headers = list[tuple[str, str]]
_JSON: Headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
_UNFIT_FOR_HEADERS = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")
_SCOPE_SEPARATOR = re.compile(r" +")


class IamError(OAuth2Error):
    """An error in IAM's words. Descriptions may echo a token, as IAM's do: clients beware."""

    def __init__(self, status: int, error: str, description: str) -> None:
        super().__init__(status_code=status, error=error)
        self.text = _UNFIT_FOR_HEADERS.sub("", description)

    def __call__(self, uri: str | None = None) -> tuple[int, dict[str, str], Headers]:
        """Return status, body and headers."""
        del uri
        headers = [*_JSON]
        if self.status_code == 401:
            challenge = f'Bearer error="{self.error}", error_description="{self.text}"'
            headers.append(("WWW-Authenticate", challenge))
        return self.status_code, {"error": self.error, "error_description": self.text}, headers


def invalid_token(kind: str, token: str) -> IamError:
    """The answer to a token nobody knows: it echoes the token whole."""
    return IamError(401, "invalid_token", f"Invalid {kind} token: {token}")


class Payload(OAuth2Payload):
    """Request parameters, as sent."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._lists: defaultdict[str, list[str]] = defaultdict(list)
        for name, value in pairs:
            self._lists[name].append(value)

    @property
    def data(self) -> dict[str, str]:
        """The first value of each parameter."""
        return {name: values[0] for name, values in self._lists.items()}

    @property
    def datalist(self) -> defaultdict[str, list[str]]:
        """All values of each parameter."""
        return self._lists


class ProviderRequest(OAuth2Request):
    """A request as Authlib wants it: parameters of a query, or of a form, never mixed."""

    def __init__(
        self, method: str, uri: str, headers: Mapping[str, str], pairs: Sequence[tuple[str, str]]
    ) -> None:
        super().__init__(method, uri, headers=headers)
        self.payload = Payload(pairs)

    @property
    def args(self) -> dict[str, str]:
        """The parameters, whichever way they came."""
        return self.payload.data

    @property
    def form(self) -> dict[str, str]:
        """The parameters, whichever way they came."""
        return self.args


class RegisteredClient(ClientMixin):
    """A client, as Authlib asks about it."""

    def __init__(self, record: Client) -> None:
        self.record = record

    def get_client_id(self) -> str:
        """The client's id."""
        return self.record.client_id

    def get_default_redirect_uri(self) -> str | None:
        """The only registered address, if there is only one."""
        return self.record.redirect_uris[0] if len(self.record.redirect_uris) == 1 else None

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """The scope as asked for, or None if part of it is not registered."""
        asked = [part for part in _SCOPE_SEPARATOR.split(scope or "") if part]
        for part in asked:
            name, colon, path = part.partition(":")
            if part in self.record.scopes:
                continue
            if not (name == "wlcg.groups" and colon and path.startswith("/")):
                return None
            if name not in self.record.scopes:
                return None
        return " ".join(dict.fromkeys(asked))

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Whether the address is registered, to the letter."""
        return redirect_uri in self.record.redirect_uris

    def check_response_type(self, response_type: str) -> bool:
        """The code flow only."""
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        """Codes, and refreshes of what they gave."""
        return grant_type in ("authorization_code", "refresh_token")


class CodeRecord:
    """A code, as Authlib asks about it."""

    code_challenge_method = "S256"

    def __init__(self, record: Code) -> None:
        self.record = record
        self.code_challenge = record.challenge

    def get_redirect_uri(self) -> str | None:
        """The address the authorize request named."""
        return self.record.redirect_uri

    def get_scope(self) -> str:
        """The granted scope."""
        return self.record.scope


class RefreshRecord:
    """A refresh token, as Authlib asks about it."""

    def __init__(self, token: str, record: RefreshToken) -> None:
        self.token = token
        self.record = record

    def check_client(self, client: RegisteredClient) -> bool:
        """Whether it was issued to this client."""
        return self.record.client_id == client.record.client_id

    def get_scope(self) -> str:
        """The scope of the login."""
        return self.record.scope
