"""What the hub's process is told, in one JSON file.

``arcetri up`` writes the file and names it in the environment variable ``ARCETRI_SETTINGS``;
whoever runs JupyterHub by other means writes it by hand. Secrets are not in it: it says in which
files they are.
"""

from __future__ import annotations

import ipaddress
import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

SETTINGS_VARIABLE = "ARCETRI_SETTINGS"

Port = Annotated[int, Field(ge=1, le=65535)]


class SettingsError(Exception):
    """The settings file is missing or wrong; the message is one sentence for the operator."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class IamSettings(_Section):
    """The identity provider."""

    issuer: str
    """Exactly as the provider's discovery document says it, with or without a slash at the end."""
    client_id: str
    client_secret_file: Path
    """A file that holds the client's secret and nothing else."""
    development: bool = False
    """True for ``arcetri_hub.devidp``: serves loopback only, and plain HTTP is accepted."""
    scopes: tuple[str, ...] = ("openid", "profile", "email", "wlcg.groups", "offline_access")
    groups_claim: str | None = None
    """Which claim carries the groups; absent means whichever of the known ones is there."""
    uid_claim: str | None = None
    """Which claim carries a person's numeric id, used with ``accounts``; absent means that the
    platform allocates one."""
    gids_claim: str | None = None
    """Which claim carries an object from group paths to numeric ids; absent means that the
    platform allocates them."""
    timeout: float = Field(default=10.0, gt=0)
    """Seconds for one answer of the provider."""


class ProxySettings(_Section):
    """The configurable-http-proxy that is already running."""

    api_url: str
    """Where the hub tells the proxy its routes, such as ``http://127.0.0.1:8001``."""
    token_file: Path
    """The secret the proxy's API asks for."""


class UsageSettings(_Section):
    """The ledger, and what the hub tells it."""

    url: str
    """Where the ledger answers the hub and the proxy, such as ``http://127.0.0.1:8010``."""
    service_token_file: Path
    """The secret by which the ledger, as JupyterHub's service, asks who looks."""
    witness_token_file: Path
    """The secret by which the hub tells the ledger of starts and ends."""
    node: str = ""
    """This machine's name in the ledger; a cluster's sessions are each on a node of their own."""
    spool: Path
    """File that keeps what the ledger has not acknowledged."""


class ProvisionerSettings(_Section):
    """The provisioner, which makes homes and group folders before a session's pod mounts them."""

    url: str = Field(pattern=r"^https?://[^/@?#\s]+/?$")
    """Where it answers the hub, such as ``http://arcetri-provisioner.arcetri-storage:8020``."""
    token_file: Path
    """The hub's service-account token for the audience ``arcetri-provisioner``, as a projected
    volume has it; read anew for each call."""


class KubernetesSettings(_Section):
    """A cluster that runs the sessions.

    The hub asks its API server as the pod it runs in, else as the environment variable
    ``KUBECONFIG`` says.
    """

    namespace: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    """Where sessions run: a namespace for them alone, guarded by its labels."""
    patience: float = Field(default=90.0, ge=0)
    """Seconds for which a start bears a trouble that may go by itself, such as a registry that
    does not answer."""
    strict_groups: bool = False
    """Whether an image's own ``/etc/group`` can give its user no further groups. True only where
    each node's ``status.features.supplementalGroupsPolicy`` says so (containerd 2): other nodes
    refuse the session's pod."""
    queue: Literal["slots", "kueue"] = "slots"
    """Who says whose turn it is: with ``slots`` the oldest request for which the cluster has room;
    with ``kueue``, requests stand in the queues that ``arcetri queues sync`` makes."""
    queues_name: str = Field(default="arcetri", min_length=1, max_length=200)
    """What ``arcetri queues sync`` calls this installation: its ``--instance``."""
    provisioner: ProvisionerSettings | None = None
    """Who makes homes and group folders; absent means that the folders must be there, with the
    owners that the store gives."""


class Settings(_Section):
    """Everything the hub's process needs to know."""

    state_dir: Path
    """Absolute path of the state folder; everything that is kept lies in it."""
    instance_id: str = Field(pattern=r"^[0-9a-f]{8,32}$")
    """Tells this state folder's processes and leases from those of another."""
    profiles: Path
    """The catalog."""
    ip: str = "127.0.0.1"
    """Address the proxy serves."""
    port: Port = 8000
    """Port the proxy serves."""
    public_url: str = ""
    """Where browsers find the platform; empty means ``http://{ip}:{port}``. No path, no slash."""
    hub_ip: str = "127.0.0.1"
    """Address on which the hub answers the proxy and the sessions."""
    hub_port: Port = 8081
    """Port on which it does."""
    hub_connect_url: str = ""
    """Where sessions on other machines find the hub, such as ``http://hub:8081``; empty means the
    address and port above."""
    database_url: str = ""
    """SQLAlchemy URL for JupyterHub's tables and Arcetri's; empty means SQLite in the state
    folder."""
    database_url_file: Path | None = None
    """A file with that URL and nothing else, where it has a password in it."""
    iam: IamSettings
    proxy: ProxySettings | None = None
    """The proxy; absent where JupyterHub is told of one by other means, as zero-to-jupyterhub
    does."""
    usage: UsageSettings | None = None
    """The ledger; absent means that usage is not recorded."""
    kubernetes: KubernetesSettings | None = None
    """The cluster; absent means that sessions are processes of this machine."""
    cookie_secret_file: Path | None = None
    """64 hexadecimal digits; JupyterHub insists that others cannot read it. Absent where JupyterHub
    is told of them by other means."""
    crypt_key_file: Path | None = None
    """64 hexadecimal digits that encrypt what the hub keeps of a login. Absent where JupyterHub is
    told of them by other means."""
    supervisor_token_file: Path | None = None
    """The secret with which the supervisor tells the hub that the proxy was started again."""
    metrics_token_file: Path | None = None
    """The secret with which whoever collects metrics reads the hub's."""
    site_config: Path | None = None
    """A folder of the site's own JupyterHub configuration (``*.py``), which is read after the
    platform's in the order of names; files of the folder alone, no folders below it."""
    accounts: bool = False
    """True: each user's sessions run as a system account of their own (needs root)."""
    mounts: bool = False
    """True: sessions see their volumes mounted at the catalog's places, which this machine must
    allow; False: linked below ``view`` of the state folder."""
    start_timeout: int = Field(default=180, gt=0)
    """Seconds a session may take until its process is there."""
    http_timeout: int = Field(default=180, gt=0)
    """Seconds a session's process may take until it answers."""
    culling_interval: float = Field(default=30.0, gt=0)
    """Seconds between two looks whether a session is idle or has lived its time; sooner where an
    end is due."""
    keep_requests: int = Field(default=90, gt=0)
    """Days for which a request that has ended is kept, with how and why it ended. What was used is
    the ledger's, which keeps its own."""
    log_level: str = "INFO"

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.public_url:
            host = f"[{self.ip}]" if ":" in self.ip else self.ip
            object.__setattr__(self, "public_url", f"http://{host}:{self.port}")
        if self.database_url_file is not None:
            if self.database_url:
                raise ValueError("database_url and database_url_file: give one of the two")
            url = self.database_url_file.read_text(encoding="utf-8").strip()
            object.__setattr__(self, "database_url", url)
        if not self.database_url:
            object.__setattr__(self, "database_url", f"sqlite:///{self.state_dir}/arcetri.sqlite")
        if self.iam.development and not is_loopback(self.ip):
            raise ValueError("the development IAM serves loopback only: set ip to 127.0.0.1")
        return self

    @property
    def callback_url(self) -> str:
        """Where the identity provider sends a browser back to."""
        return f"{self.public_url}/hub/oauth_callback"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the platform; simulated devices need it."""
        return is_loopback(self.ip)

    @property
    def secure(self) -> bool:
        """Whether browsers come over HTTPS, so that cookies may insist on it."""
        return urlsplit(self.public_url).scheme == "https"


def is_loopback(address: str) -> bool:
    """Whether ``address`` (an IP address or ``localhost``) is reachable from this machine only."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def read_settings(path: Path) -> Settings:
    """Read a settings file.

    Raises:
        SettingsError: It is missing, no JSON, or says something that cannot be.
    """
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise SettingsError(f"{path} is no JSON: {error}.") from error
    try:
        return Settings.model_validate(data)
    except OSError as error:
        raise SettingsError(f"{error.filename} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'settings'}: {item['msg']}"
            for item in error.errors()
        )
        raise SettingsError(f"{path} says something that cannot be: {wrong}.") from error


def settings_from_environment() -> Settings:
    """The settings that ``ARCETRI_SETTINGS`` names.

    Raises:
        SettingsError: As ``read_settings``, or the variable is not set.
    """
    name = os.environ.get(SETTINGS_VARIABLE)
    if not name:
        raise SettingsError(f"{SETTINGS_VARIABLE} must name the settings file.")
    return read_settings(Path(name))
