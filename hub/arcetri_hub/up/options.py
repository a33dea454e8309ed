"""What ``arcetri up`` was asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RealIam:
    """An identity provider of the institute, instead of the development one."""

    issuer: str
    client_id: str
    client_secret_file: Path


@dataclass(frozen=True, slots=True)
class UpOptions:
    """The options of the command, each valid alone."""

    state: Path
    profiles: Path | None = None
    """None: the state folder's own, begun as a copy of the demonstration's."""
    ip: str = "127.0.0.1"
    port: int = 8000
    public_url: str = ""
    iam: RealIam | None = None
    """None: the development IAM."""
    fresh: bool = False
    keep_sessions: bool = False
    accounts: bool = False
    one_account: bool = False
    """With a real IAM and as root: no ``accounts``, on purpose."""
    mounts: bool = True
    """False: volumes are linked below the state folder even where they could be mounted."""
    uid_claim: str | None = None
    """The claim with a person's numeric id, where IAM gives them."""
    gids_claim: str | None = None
    """The claim with the groups' numeric ids, where IAM gives them."""
    history: bool = True
    """A demonstration gets a generated history of usage."""
    json: bool = False
