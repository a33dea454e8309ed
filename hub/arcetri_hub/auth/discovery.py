"""Where an issuer's endpoints are, from its discovery document. Pure."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

_WELL_KNOWN = "/.well-known/openid-configuration"


class DiscoveryError(ValueError):
    """The discovery document cannot be used; the message says why and quotes no secret."""


@dataclass(frozen=True, slots=True)
class Provider:
    """An OpenID provider, as it describes itself."""

    issuer: str
    """As the discovery document and the ID tokens spell it; INDIGO IAM's ends in a slash."""
    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str
    jwks_uri: str
    end_session_endpoint: str = ""
    """Where a client sends a browser to end its session there (OpenID Connect RP-Initiated Logout);
    empty where it cannot, as with INDIGO IAM."""


def issuer_key(issuer: str) -> str:
    """Return the one spelling under which accounts of an issuer are kept.

    INDIGO IAM writes its issuer with a slash at the end in some places and without in others.
    """
    parts = urlsplit(issuer.strip())
    return f"{parts.scheme.lower()}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def check_issuer(issuer: str) -> str:
    """Return ``issuer`` when it can be one.

    Raises:
        ValueError: It is no https URL (http is for loopback only), or has a query or a fragment.
    """
    parts = urlsplit(issuer.strip())
    if parts.query or parts.fragment or parts.username or not parts.hostname:
        raise ValueError("an issuer is a plain URL such as https://iam.example.org/")
    if not _safe(issuer):
        raise ValueError(
            f"{issuer} would send secrets in the clear: an issuer that is not on this machine "
            "needs https://"
        )
    return issuer.strip()


def discovery_url(issuer: str) -> str:
    """Where the issuer's discovery document is."""
    return issuer.strip().rstrip("/") + _WELL_KNOWN


def logout_url(issuer: str) -> str:
    """Where a browser ends its session with INDIGO IAM, which discovery does not say."""
    return issuer.strip().rstrip("/") + "/logout"


def end_session_url(provider: Provider, client_id: str, back: str, state: str) -> str:
    """Where a browser ends its session with the provider, and is then sent back.

    The ID token of the login is not named: it would lie in the browser's history. A provider that
    insists on one asks the person instead.

    Args:
        provider: One that has an ``end_session_endpoint``.
        client_id: Who asks.
        back: Where to, exactly as registered at the provider.
        state: Comes back with the browser.
    """
    query = urlencode({"client_id": client_id, "post_logout_redirect_uri": back, "state": state})
    join = "&" if urlsplit(provider.end_session_endpoint).query else "?"
    return f"{provider.end_session_endpoint}{join}{query}"


def read_discovery(document: Mapping[str, object], issuer: str) -> Provider:
    """Read a discovery document that was fetched for ``issuer``.

    Raises:
        DiscoveryError: It speaks for another issuer, lacks an endpoint, names one without TLS,
            or the provider signs with nothing we accept.
    """
    said = document.get("issuer")
    if not isinstance(said, str) or issuer_key(said) != issuer_key(issuer):
        raise DiscoveryError(f"the document at {discovery_url(issuer)} is of another issuer")
    endpoints: dict[str, str] = {}
    for name in ("authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri"):
        endpoints[name] = _endpoint(document, name, issuer)
    with contextlib.suppress(DiscoveryError):  # it may be left out, and a login needs none
        endpoints["end_session_endpoint"] = _endpoint(document, "end_session_endpoint", issuer)
    algorithms = document.get("id_token_signing_alg_values_supported")
    if isinstance(algorithms, list) and "RS256" not in algorithms:
        raise DiscoveryError("the issuer does not sign with RS256, which alone is accepted")
    return Provider(issuer=said, **endpoints)


def _endpoint(document: Mapping[str, object], name: str, issuer: str) -> str:
    url = document.get(name)
    if not isinstance(url, str) or not urlsplit(url).hostname:
        raise DiscoveryError(f"the issuer's discovery document has no {name}")
    if urlsplit(issuer).scheme.lower() == "https" and urlsplit(url).scheme.lower() != "https":
        raise DiscoveryError(f"the issuer's {name} is not on https")
    if not _safe(url):
        raise DiscoveryError(f"the issuer's {name} would be used without TLS")
    return url


def _safe(url: str) -> bool:
    parts = urlsplit(url.strip())
    if parts.scheme.lower() == "https":
        return True
    return parts.scheme.lower() == "http" and _loopback(parts.hostname or "")


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
