"""Checking the identity provider one was told to use."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

from arcetri_hub.settings import is_loopback
from arcetri_hub.up.errors import UpError
from arcetri_hub.up.options import RealIam

DISCOVERY = "/.well-known/openid-configuration"


def check_real(iam: RealIam) -> str | None:
    """Check what can be checked of a real IAM before the hub starts.

    Returns:
        A warning, when it does not answer now: the platform starts all the same, because running
        sessions do not need it, and logins work as soon as it is back.

    Raises:
        UpError: The issuer is no address, is none of an identity provider, or the secret is
            missing.
    """
    parts = urlsplit(iam.issuer)
    local = parts.scheme == "http" and is_loopback(parts.hostname or "")
    if not parts.hostname or not (parts.scheme == "https" or local):
        raise UpError(
            f"--issuer {iam.issuer} cannot be used: it must be a full address such as "
            "https://iam.example.org/ (plain http only on this machine)."
        )
    _check_secret(iam.client_secret_file)
    return _check_discovery(iam.issuer)


def _check_secret(path: Path) -> None:
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UpError(f"--client-secret-file {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise UpError(f"--client-secret-file {path} is no text file.") from error
    if not secret or len(secret.split()) != 1:
        raise UpError(
            f"--client-secret-file {path} must hold the client's secret and nothing else."
        )


def _check_discovery(issuer: str) -> str | None:
    import httpx  # only this check needs it

    url = issuer.rstrip("/") + DISCOVERY
    try:
        answer = httpx.get(url, timeout=10, follow_redirects=True)
    except httpx.HTTPError as error:
        return (
            f"{issuer} does not answer now ({type(error).__name__}); logins will work when it does."
        )
    if answer.status_code >= 500:
        return (
            f"{issuer} is in trouble now (HTTP status {answer.status_code}); "
            "logins will work when it is well."
        )
    try:
        said = answer.json()["issuer"] if answer.status_code == 200 else None
    except (json.JSONDecodeError, KeyError, TypeError):
        said = None
    if not isinstance(said, str):
        raise UpError(
            f"--issuer {issuer} is no OpenID provider: {url} has no description of one "
            f"(HTTP status {answer.status_code})."
        )
    if said.rstrip("/") != issuer.rstrip("/"):
        raise UpError(f"--issuer {issuer} calls itself {said}: use that name.")
    return None
