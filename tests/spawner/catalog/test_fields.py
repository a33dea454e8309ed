from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcetri_spawner.catalog.identifiers import (
    parse_group,
    parse_id_range,
    parse_time_zone,
    parse_until,
    parse_version,
)
from arcetri_spawner.catalog.paths import parse_interpreter, parse_mount, parse_relative
from arcetri_spawner.catalog.problems import FieldError
from arcetri_spawner.catalog.quantities import (
    parse_bytes,
    parse_cores,
    parse_device_share,
    parse_duration,
    show_bytes,
    show_duration,
)

Parser = Callable[[object], object]


@pytest.mark.parametrize(
    ("parser", "written", "value"),
    [
        (parse_bytes, "8Gi", 8 * 1024**3),
        (parse_bytes, "1.5Ki", 1536),
        (parse_bytes, "2G", 2 * 10**9),
        (parse_bytes, 4096, 4096),
        (parse_cores, 2, 2.0),
        (parse_cores, "500m", 0.5),
        (parse_cores, "0.25", 0.25),
        (parse_duration, "1h30m", timedelta(minutes=90)),
        (parse_duration, "2w", timedelta(days=14)),
        (parse_id_range, "2000-2999", range(2000, 3000)),
        (parse_time_zone, "Europe/Rome", "Europe/Rome"),
        (parse_until, "2026-12-01", date(2026, 12, 1)),
        (parse_version, 1, 1),
        (parse_mount, "/home/{username}", "/home/{username}"),
        (parse_relative, "", ""),
        (parse_relative, "groups/cms", "groups/cms"),
        (parse_interpreter, "default", "default"),
        (parse_interpreter, "/opt/py/bin/python", "/opt/py/bin/python"),
        (parse_group, "a/b/", "/a/b"),
    ],
)
def test_good_values_are_read(parser: Parser, written: object, value: object) -> None:
    assert parser(written) == value


@pytest.mark.parametrize(
    ("parser", "written", "meant"),
    [
        (parse_bytes, "8GB", "8Gi"),
        (parse_bytes, "8 gib", "8Gi"),
        (parse_bytes, "0", ""),
        (parse_bytes, "1.0001", ""),
        (parse_bytes, "5000Pi", ""),
        (parse_bytes, True, ""),
        (parse_bytes, "9" * 5000, ""),
        (parse_cores, 0, ""),
        (parse_cores, 5000, ""),
        (parse_cores, 0.0001, ""),
        (parse_cores, "two", ""),
        (parse_cores, float("nan"), ""),
        (parse_duration, 30, ""),
        (parse_duration, "1 hour", "1h"),
        (parse_duration, "3 Days", "3d"),
        (parse_duration, "", ""),
        (parse_duration, "0s", ""),
        (parse_duration, "999999999w", ""),
        (parse_id_range, "2999-2000", "2000-2999"),
        (parse_id_range, "0-100", ""),
        (parse_id_range, "60000-70000", ""),
        (parse_time_zone, "Europe/Roma", "Europe/Rome"),
        (parse_time_zone, "../../etc/passwd", ""),
        (parse_until, "soon", ""),
        (parse_until, 3, ""),
        (parse_version, True, "1"),
        (parse_version, 1.0, "1"),
        (parse_version, 2, "1"),
        (parse_mount, "data", "/data"),
        (parse_mount, "/data/", "/data"),
        (parse_mount, "//data", "/data"),
        (parse_mount, "/", ""),
        (parse_mount, "/proc/x", ""),
        (parse_mount, "/data/../etc", ""),
        (parse_mount, "/home/{user}", "{username}"),
        (parse_mount, "/home/{}", "{username}"),
        (parse_mount, "/home/{username", ""),
        (parse_mount, "/a\nb", ""),
        (parse_mount, 3, ""),
        (parse_relative, "/abs", "abs"),
        (parse_relative, "../up", ""),
        (parse_relative, "a//b", "a/b"),
        (parse_interpreter, "defualt", "default"),
        (parse_interpreter, "python3", ""),
        (parse_group, "/a//b", "/a/b"),
        (parse_group, "/", ""),
        (parse_group, 3, ""),
        (parse_device_share, "1e-99999999", ""),
        (parse_device_share, "9" * 5000 + "/1", ""),
        (parse_device_share, "8/7", ""),
        (parse_device_share, "0/7", ""),
        (parse_device_share, "1/0", ""),
        (parse_device_share, -1, ""),
        (parse_device_share, True, ""),
        (parse_device_share, "a seventh", ""),
        (parse_device_share, 0.142857, "1/7"),
        (parse_device_share, 0.333, "1/3"),
        (parse_device_share, "1/11", ""),
    ],
)
def test_bad_values_say_what_is_allowed_and_what_was_meant(
    parser: Parser, written: object, meant: str
) -> None:
    with pytest.raises(FieldError) as refused:
        parser(written)

    assert refused.value.message
    assert refused.value.allowed
    assert refused.value.suggestion == meant


@given(st.integers(1, 366 * 86_400).map(lambda seconds: timedelta(seconds=seconds)))
def test_durations_are_written_as_they_are_read(value: timedelta) -> None:
    assert parse_duration(show_duration(value)) == value


@given(st.integers(1, 2**60 - 1))
def test_sizes_are_written_as_they_are_read(value: int) -> None:
    assert parse_bytes(show_bytes(value)) == value
