from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import pytest

from arcetri_spawner.catalog.problems import FieldError
from arcetri_spawner.catalog.scalars import plain, plain_key


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("0", 0),
        ("-7", -7),
        ("2.50", 2.5),
        ("1/7", "1/7"),
        ("8Gi", "8Gi"),
        ("1h30m", "1h30m"),
        ("a100-1g", "a100-1g"),
        ("200000-299999", "200000-299999"),
        ("2026.11.1", "2026.11.1"),
        ("yesterday", "yesterday"),
        ("2026-12-01", date(2026, 12, 1)),
        (
            "2026-12-01T08:00:00+01:00",
            datetime(2026, 12, 1, 8, tzinfo=timezone(timedelta(hours=1))),
        ),
    ],
)
def test_what_all_readers_of_yaml_agree_on_has_a_meaning(text: str, value: object) -> None:
    assert plain(text) == value
    assert type(plain(text)) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "No",
        "on",
        "OFF",
        "y",
        "n",
        "08",
        "010",
        "0x1F",
        "0o17",
        "0b1",
        "1_000",
        "1e3",
        "1.5E-3",
        "1:30",
        "190:20:30",
        ".inf",
        "-.INF",
        ".nan",
        "+5",
        ".5",
        "5.",
        "00.5",
        "12345678901234567890",
    ],
)
def test_what_they_disagree_on_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(FieldError) as refused:
        plain(text)

    assert text in refused.value.message
    assert "quotes" in refused.value.allowed


@pytest.mark.parametrize("text", ["2026-13-01", "2026-02-30", "2026-12-01T25:00:00Z"])
def test_dates_that_do_not_exist_are_refused(text: str) -> None:
    with pytest.raises(FieldError, match="not a date that exists"):
        plain(text)


@pytest.mark.parametrize("text", ["on", "no", "8", "1e3", "null", "true", "2026-12-01", ""])
def test_keys_are_text_to_everybody(text: str) -> None:
    with pytest.raises(FieldError):
        plain_key(text)
