"""The ledger as JupyterHub's service: its place, its scopes, and who has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from arcetri_hub.settings import UsageSettings

SERVICE: Final = "usage"
PREFIX: Final = f"/services/{SERVICE}/"
CLIENT_ID: Final = f"service-{SERVICE}"
CALLBACK: Final = f"{PREFIX}oauth_callback"
WITNESS: Final = "hub"
"""What the hub is called among those who write to the ledger."""
READ: Final = "custom:arcetri-usage:read"
READ_ALL: Final = "custom:arcetri-usage:read-all"
SCOPES: Final = (READ, READ_ALL, "read:users:name!user", "read:users:groups!user")
"""What the ledger asks for on behalf of who looks: nobody gets more than they have themselves."""


def configure(c: Any, settings: UsageSettings) -> None:
    """Add the service, its scopes and its roles to JupyterHub's configuration ``c``."""
    c.JupyterHub.custom_scopes = {
        READ: {"description": "Read one's own usage, and that of the groups one leads"},
        READ_ALL: {"description": "Read everybody's usage", "subscopes": [READ]},
    }
    c.JupyterHub.template_vars.update({"usage_url": PREFIX})
    c.JupyterHub.services.append(
        {
            "name": SERVICE,
            "url": settings.url,
            "api_token": settings.service_token_file.read_text(encoding="utf-8").strip(),
            "oauth_client_id": CLIENT_ID,
            "oauth_redirect_uri": CALLBACK,
            "oauth_client_allowed_scopes": list(SCOPES),
            "oauth_no_confirm": True,
            # The platform's own pages link to it.
            "display": False,
        }
    )
    c.JupyterHub.load_roles += [
        {
            "name": "user",
            "description": "What every user may do",
            "scopes": ["self", f"access:services!service={SERVICE}", READ],
        },
        {
            "name": SERVICE,
            "description": "The ledger finds out who looks",
            "scopes": ["read:users:name", "read:users:groups"],
            "services": [SERVICE],
        },
    ]
