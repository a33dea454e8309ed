"""JupyterHub as Arcetri runs it: every trait that differs from its default, with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from arcetri_hub import usage
from arcetri_hub.settings import Settings

if TYPE_CHECKING:
    from arcetri_hub.factory import Platform

SUPERVISOR = "arcetri-supervisor"
METRICS = "arcetri-metrics"


def configure(c: Any, settings: Settings) -> None:
    """Set JupyterHub's traits on the configuration object ``c``.

    Builds the platform first, so that a catalog or database that cannot be used ends the hub
    before it serves anything.

    Raises:
        ArcetriError: The platform cannot be built; the message is for the operator.
    """
    # Imported here because it pulls in the whole platform, which only the hub's process needs.
    from arcetri_hub import pages
    from arcetri_hub.devidp.demo import DEMO_USERS
    from arcetri_hub.factory import build_platform
    from arcetri_hub.reaper import ROLES, SERVICES

    platform = build_platform(settings)
    _network(c, settings)
    _secrets_and_database(c, settings)
    _login(c, settings, platform)
    _servers(c, settings, platform)
    # Another's configuration, such as zero-to-jupyterhub's, may have come before.
    c.JupyterHub.services = [*_said(c, "services"), *SERVICES]
    c.JupyterHub.load_roles = [*_said(c, "load_roles"), *ROLES]
    if settings.supervisor_token_file is not None:
        _let_in(c, SUPERVISOR, settings.supervisor_token_file, "proxy")
    if settings.metrics_token_file is not None:
        _let_in(c, METRICS, settings.metrics_token_file, "read:metrics")
    if settings.usage is not None:
        usage.configure(c, settings.usage)
    c.JupyterHub.authenticate_prometheus = True
    c.JupyterHub.log_level = settings.log_level
    pages.configure(c, platform, people=DEMO_USERS if settings.iam.development else ())


def _said(c: Any, name: str) -> list[Any]:
    """A list of JupyterHub's as it was said before; traitlets has no plain answer for none."""
    found = c.JupyterHub.get(name)
    return list(found) if isinstance(found, list) else []


def _network(c: Any, settings: Settings) -> None:
    """Where the hub and its proxy answer."""
    if settings.proxy is not None:
        c.JupyterHub.bind_url = f"http://{_host(settings.ip)}:{settings.port}"
        c.JupyterHub.hub_ip = settings.hub_ip
        # Running sessions know the hub by this port: the same one at every start of a state folder.
        c.JupyterHub.hub_port = settings.hub_port
        c.ConfigurableHTTPProxy.should_start = False
        c.ConfigurableHTTPProxy.api_url = settings.proxy.api_url
        c.ConfigurableHTTPProxy.auth_token = settings.proxy.token_file.read_text().strip()
    if settings.public_url != f"http://{_host(settings.ip)}:{settings.port}":
        c.JupyterHub.public_url = f"{settings.public_url}/"
    if settings.hub_connect_url:
        # Said with it, or JupyterHub would try to listen on the address of the connect URL.
        c.JupyterHub.hub_bind_url = f"http://{_host(settings.hub_ip)}:{settings.hub_port}"
        c.JupyterHub.hub_connect_url = settings.hub_connect_url
    # Beside the supervisor's word that a proxy is new; JupyterHub would look every five minutes.
    c.JupyterHub.last_activity_interval = 60
    # Twenty looks a second, as by default, are a seventh of what the hub costs during a start.
    c.PeriodicMetricsCollector.event_loop_interval_resolution = 0.2
    c.JupyterHub.tornado_settings = {
        "cookie_options": {"SameSite": "Lax", **({"Secure": True} if settings.secure else {})},
        # A refusal is answered at once; whatever takes longer is watched on the progress page.
        "slow_spawn_timeout": 1,
        "slow_stop_timeout": 5,
    }


def _secrets_and_database(c: Any, settings: Settings) -> None:
    """What is kept from one start to the next."""
    c.JupyterHub.db_url = settings.database_url
    if settings.database_url.startswith("sqlite"):
        # Two writers, JupyterHub's own tables and ours, take turns on one file.
        c.JupyterHub.db_kwargs = {"connect_args": {"timeout": 10}}
    if settings.cookie_secret_file is not None:
        c.JupyterHub.cookie_secret_file = str(settings.cookie_secret_file)
    if settings.crypt_key_file is not None:
        c.CryptKeeper.keys = [bytes.fromhex(settings.crypt_key_file.read_text().strip())]


def _let_in(c: Any, name: str, token_file: Path, scope: str) -> None:
    """Let who has a token do one thing: say that the proxy is new, or read the metrics."""
    token = token_file.read_text(encoding="utf-8").strip()
    c.JupyterHub.services.append({"name": name, "api_token": token})
    c.JupyterHub.load_roles.append({"name": name, "scopes": [scope], "services": [name]})


def _login(c: Any, settings: Settings, platform: Platform) -> None:
    """Who people are, and who of them may log in."""
    from arcetri_hub import pages
    from arcetri_hub.auth import IamAuthenticator
    from arcetri_hub.pages import admin
    from arcetri_spawner.policy import refusal_of_stranger

    c.JupyterHub.authenticator_class = IamAuthenticator
    c.IamAuthenticator.issuer = settings.iam.issuer
    c.IamAuthenticator.client_id = settings.iam.client_id
    c.IamAuthenticator.client_secret_file = str(settings.iam.client_secret_file)
    c.IamAuthenticator.scope = list(settings.iam.scopes)
    c.IamAuthenticator.groups_claim = settings.iam.groups_claim or ""
    c.IamAuthenticator.uid_claim = settings.iam.uid_claim or ""
    c.IamAuthenticator.gids_claim = settings.iam.gids_claim or ""
    c.IamAuthenticator.iam_timeout = settings.iam.timeout
    c.IamAuthenticator.oauth_callback_url = settings.callback_url
    if settings.iam.development:
        c.IamAuthenticator.login_service = "the demonstration IAM"
        # Whoever tries the platform logs out to come back as somebody else.
        c.IamAuthenticator.iam_logout = "redirect"
    # Plain functions throughout: traitlets copies configuration deeply, and a bound method with it
    # its whole object.
    c.IamAuthenticator.store_getter = lambda: platform.store
    c.IamAuthenticator.refusal = lambda groups: refusal_of_stranger(
        platform.catalogs.current.catalog, groups
    )
    c.IamAuthenticator.admin_groups = lambda: platform.catalogs.current.catalog.site.admins
    # Functions throughout: traitlets deep-copies a bound method together with all it belongs to.
    c.IamAuthenticator.observe_answer = lambda kind: platform.metrics.iam_answered(kind)
    c.IamAuthenticator.page_handlers = lambda _app: [
        *pages.handlers(platform),
        *admin.handlers(platform),
    ]
    # The first moment at which JupyterHub has users and a running loop.
    c.IamAuthenticator.on_hub_ready = lambda app: platform.start(app)


def _servers(c: Any, settings: Settings, platform: Platform) -> None:
    """How single-user servers are started, kept and ended."""
    if settings.kubernetes is not None:
        from arcetri_spawner.kubespawner import ArcetriKubeSpawner

        c.JupyterHub.spawner_class = ArcetriKubeSpawner
        c.KubeSpawner.namespace = settings.kubernetes.namespace
        # The image has no say in what is started: policy's environment and arguments need a server.
        c.KubeSpawner.cmd = ["jupyterhub-singleuser"]
    else:
        from arcetri_spawner.jupyterhub import ArcetriSpawner

        c.JupyterHub.spawner_class = ArcetriSpawner
    # Whoever stops the hub decides about the sessions; the hub itself always leaves them.
    c.JupyterHub.cleanup_servers = False
    c.JupyterHub.cleanup_proxy = False
    c.JupyterHub.allow_named_servers = True

    def session_limit(_handler: object) -> int:
        return platform.catalogs.current.catalog.limits.sessions

    # JupyterHub's own cap answers before our gate does; both read the catalog of the moment.
    c.JupyterHub.named_server_limit_per_user = session_limit
    # Limits are the catalog's; a burst is slow on a small machine, but everybody gets in.
    c.JupyterHub.concurrent_spawn_limit = 0
    c.JupyterHub.active_server_limit = 0
    c.Spawner.consecutive_failure_limit = 0
    c.Spawner.start_timeout = settings.start_timeout
    c.Spawner.http_timeout = settings.http_timeout
    c.Spawner.default_url = "/lab"
    # A session that was starting when the hub died must not keep everybody waiting for the hub.
    c.JupyterHub.init_spawners_timeout = 2


def _host(ip: str) -> str:
    return f"[{ip}]" if ":" in ip else ip
