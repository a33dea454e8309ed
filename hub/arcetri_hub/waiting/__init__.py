"""What the waiting room needs of JupyterHub: starting what is admitted, and seeing who came."""

from arcetri_hub.waiting.starting import HubStarter
from arcetri_hub.waiting.visits import opened

__all__ = ["HubStarter", "opened"]
