"""What ``python -m jupyterhub -f`` reads; everything is in ``arcetri_hub.config``."""

import sys
from typing import Any

from arcetri_accounting.logs import configure_logs
from arcetri_hub.config import configure
from arcetri_hub.settings import SettingsError, settings_from_environment
from arcetri_spawner.errors import ArcetriError

c: Any = get_config()  # type: ignore[name-defined]  # noqa: F821  # JupyterHub puts it there
configure_logs("text")
try:
    settings = settings_from_environment()
    configure(c, settings)
except (ArcetriError, SettingsError) as error:
    sys.exit(f"arcetri: {error}")
if settings.site_config is not None:
    for path in sorted(settings.site_config.glob("*.py")):
        load_subconfig(str(path.resolve()))  # type: ignore[name-defined]  # noqa: F821  # as above
