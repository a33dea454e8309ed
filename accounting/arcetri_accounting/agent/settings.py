"""The agent's settings."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """What an agent has to know."""

    journal: Path
    """The lease journal, or the folder that holds it."""
    spool: Path
    ledger: str
    """The ledger's address, without ``/api/v1``."""
    token_file: Path
    node: str
    interval: float = 10.0
    """Seconds between samples."""
    metrics_port: int | None = None
    """Port of 127.0.0.1 for Prometheus; None for no metrics, 0 for any free port."""


def read_config(path: Path) -> dict[str, Any]:
    """Settings from a TOML file: the names of the options, with ``-`` or ``_``.

    Raises:
        ValueError: It is no TOML, with the place.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        try:
            found = tomllib.load(file)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path}: {error}") from None
    return {name.replace("-", "_"): value for name, value in found.items()}
