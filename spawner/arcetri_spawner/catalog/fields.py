"""Field types of profiles.yaml: quantities, durations, names, paths. Each error says what is allowed."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator

from arcetri_spawner.groups import GroupPath, normalize_group

Name = str
Bytes = int
Cores = float
Duration = timedelta
GroupField = Annotated[GroupPath, BeforeValidator(lambda v: normalize_group(v))]
IdRange = str
MountPath = str
RelativePath = str
ResourceName = str
TimeZone = str
