"""What the hub's process is told, and what is refused of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arcetri_hub.settings import SettingsError, read_settings

LEAST: dict[str, Any] = {
    "state_dir": "/srv/arcetri",
    "instance_id": "0123456789abcdef",
    "profiles": "/etc/profiles.yaml",
    "iam": {
        "issuer": "https://iam.example.org/",
        "client_id": "hub",
        "client_secret_file": "/etc/secret",
    },
}


def told(folder: Path, **more: object) -> Path:
    path = folder / "settings.json"
    path.write_text(json.dumps({**LEAST, **more}))
    return path


def test_the_databases_url_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://hub:secret@db/hub\n")
    settings = read_settings(told(tmp_path, database_url_file=str(tmp_path / "url")))
    assert settings.database_url == "postgresql://hub:secret@db/hub"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none cannot be read: No such file"):
        read_settings(told(tmp_path, database_url_file=str(tmp_path / "none")))


def test_one_database_is_named_once(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://hub@db/hub")
    both = told(tmp_path, database_url="sqlite:///a", database_url_file=str(tmp_path / "url"))
    with pytest.raises(SettingsError, match="give one of the two"):
        read_settings(both)
