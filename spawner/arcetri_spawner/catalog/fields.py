"""Field types of profiles.yaml: each checks alone, and says what is wrong and what is allowed.

What a type accepts is in `quantities`, `identifiers`, `paths` and `patterns`; here each also gets
what the JSON Schema says of it.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
)

from arcetri_accounting.contract import Share
from arcetri_spawner.catalog import patterns
from arcetri_spawner.catalog.identifiers import (
    parse_day,
    parse_group,
    parse_id_range,
    parse_time_zone,
    parse_until,
    parse_version,
)
from arcetri_spawner.catalog.paths import parse_interpreter, parse_mount, parse_relative
from arcetri_spawner.catalog.quantities import (
    parse_bytes,
    parse_cores,
    parse_device_share,
    parse_duration,
    show_duration,
)
from arcetri_spawner.groups import GroupPath


def _schema(description: str, *kinds: dict[str, Any]) -> WithJsonSchema:
    one = kinds[0] if len(kinds) == 1 else {"anyOf": list(kinds)}
    return WithJsonSchema(one | {"description": description})


def _string(pattern: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "pattern": pattern} | more


Name = Annotated[str, StringConstraints(pattern=patterns.NAME)]
Title = Annotated[str, StringConstraints(pattern=patterns.LINE, min_length=1, max_length=100)]
Line = Annotated[str, StringConstraints(pattern=patterns.LINE, max_length=100)]
Text = Annotated[str, StringConstraints(max_length=1000)]
LabelKey = Annotated[str, StringConstraints(pattern=patterns.LABEL_KEY)]
LabelValue = Annotated[str, StringConstraints(pattern=patterns.LABEL_VALUE)]
ResourceName = Annotated[str, StringConstraints(pattern=patterns.RESOURCE, max_length=253)]
ClaimName = Annotated[str, StringConstraints(pattern=patterns.CLAIM, max_length=253)]
ImageName = Annotated[str, StringConstraints(pattern=patterns.IMAGE, max_length=500)]
Version = Annotated[
    int, PlainValidator(parse_version), WithJsonSchema({"type": "integer", "const": 1})
]
DeviceShare = Annotated[Share, BeforeValidator(parse_device_share)]
Bytes = Annotated[
    int,
    BeforeValidator(parse_bytes),
    _schema(
        "A size in bytes, such as 8Gi.",
        {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 2**60},
        _string(r"^[0-9]{1,19}(\.[0-9]{1,9})?(k|[KMGTP]i|[MGTP])?$"),
    ),
]
Cores = Annotated[
    float,
    BeforeValidator(parse_cores),
    _schema(
        "A number of cores, such as 2, 0.5 or 500m.",
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1024},
        _string(r"^([0-9]{1,4}(\.[0-9]{1,3})?|[0-9]{1,7}m)$"),
    ),
]
Duration = Annotated[
    timedelta,
    PlainValidator(parse_duration),
    PlainSerializer(show_duration, return_type=str),
    _schema(
        "A duration, such as 30s, 1h30m or 3d.",
        _string(
            "^([0-9]{1,9}w)?([0-9]{1,9}d)?([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s)?$", minLength=2
        ),
    ),
]
GroupField = Annotated[
    GroupPath,
    BeforeValidator(parse_group),
    _schema(
        "A full IAM group path, such as /experiment/team.",
        _string(r"^ *\/?[^\/\x00-\x1f\x7f]+(\/[^\/\x00-\x1f\x7f]+)*\/? *$", maxLength=514),
    ),
]
IdRange = Annotated[
    range,
    PlainValidator(parse_id_range),
    PlainSerializer(lambda ids: f"{ids[0]}-{ids[-1]}", return_type=str),
    _schema("Numeric ids, both ends included.", _string(r"^[0-9]{4,10}\s*-\s*[0-9]{4,10}$")),
]
TimeZone = Annotated[
    str,
    BeforeValidator(parse_time_zone),
    _schema("A name of the IANA time zone database.", {"type": "string", "minLength": 1}),
]
Until = Annotated[
    date | datetime,
    PlainValidator(parse_until),
    _schema(
        "A date, or a time with its offset from UTC.",
        _string(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9:.]+(Z|z|[+-][0-9]{2}:?[0-9]{2}))?$"),
    ),
]
Day = Annotated[
    date,
    PlainValidator(parse_day),
    _schema("A date.", _string(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")),
]
MountPath = Annotated[
    str,
    BeforeValidator(parse_mount),
    _schema(
        "An absolute path in the session; may use {username}.",
        _string(r"^(\/([^\/{}]|\{username\})+)+$", maxLength=255),
    ),
]
RelativePath = Annotated[
    str,
    BeforeValidator(parse_relative),
    _schema(
        "A folder inside the claim; may use {username}.",
        _string(r"^(([^\/{}]|\{username\})+(\/([^\/{}]|\{username\})+)*)?$", maxLength=255),
    ),
]
Interpreter = Annotated[
    str,
    BeforeValidator(parse_interpreter),
    _schema("Which Python serves it without Kubernetes.", _string(r"^(default|\/.+)$")),
]
