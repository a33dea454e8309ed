"""What a session's pod says of itself: the labels and annotations that spawner and agent share.

Labels are for selecting and hold nothing but safe slugs; annotations are for reading and hold the
words themselves. A session cannot write either: its pod has no account at the API server.
"""

from __future__ import annotations

from typing import Final

DOMAIN: Final = "arcetri.dev"
"""Whose names these are; nothing else may write below it."""

SESSION: Final = f"{DOMAIN}/session"
"""Label: the session's id, a UUID in its usual spelling."""
INSTANCE: Final = f"{DOMAIN}/instance"
"""Label: which platform runs the session, where several share a namespace."""
ACCOUNT: Final = f"{DOMAIN}/account"
"""Label: a slug of the account's opaque id. Annotation: the id itself."""
GROUP: Final = f"{DOMAIN}/group"
"""Label: a slug of the charged group. Annotation: its full path, or ``everyone``."""
FLAVOR: Final = f"{DOMAIN}/flavor"
"""Label: the flavour's name in the catalog."""
KIND: Final = f"{DOMAIN}/kind"
"""Label: ``notebook`` or ``batch``."""

USERNAME: Final = f"{DOMAIN}/username"
"""Annotation: the account's name."""
SERVER_NAME: Final = f"{DOMAIN}/server-name"
"""Annotation: the name of the server; empty for the default one."""
FLAVOR_TYPE: Final = f"{DOMAIN}/flavor-type"
"""Annotation: ``gpu``, ``fpga`` or ``cpu``."""
SHARE: Final = f"{DOMAIN}/share"
"""Annotation: the share of one device, a fraction such as ``1/7``, frozen in the grant."""
CATALOG: Final = f"{DOMAIN}/catalog"
"""Annotation: SHA-256 of the catalog on which the grant was decided."""
SIZE: Final = f"{DOMAIN}/size"
"""Annotation: the size's name in the catalog."""
CPU: Final = f"{DOMAIN}/cpu"
"""Annotation: cores of the granted size, a decimal number."""
MEMORY: Final = f"{DOMAIN}/memory"
"""Annotation: bytes of the granted size."""
ENVIRONMENT: Final = f"{DOMAIN}/environment"
"""Annotation: the environment's name in the catalog."""
PASSWD: Final = f"{DOMAIN}/passwd"
"""Annotation: what the session reads as /etc/passwd."""
GROUPS: Final = f"{DOMAIN}/groups"
"""Annotation: what the session reads as /etc/group."""
JUPYTER: Final = f"{DOMAIN}/jupyter"
"""Annotation: what every Jupyter program of the session reads as its configuration."""

LAB_PACKAGE: Final = f"{DOMAIN}/lab-package"
"""Annotation: what JupyterLab in the session reads of the platform's extension."""
LAB_SCRIPT: Final = f"{DOMAIN}/lab-script"
"""Annotation: the script of that extension."""

FILES: Final = frozenset({PASSWD, GROUPS, JUPYTER, LAB_PACKAGE, LAB_SCRIPT})
"""The annotations that are the text of a file in the session: read by the kubelet alone."""

NOTEBOOK_CONTAINER: Final = "notebook"
"""The container that holds the session's devices and whose life is charged."""

OUTSIDE: Final = "outside"
"""The group of what a node's devices did for pods that are no session's: no path begins so."""
