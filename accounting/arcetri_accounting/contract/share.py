"""The weight of a device slice, kept exact.

Usage is counted in integers of 1/10080 GPU-millisecond, so that sevenths, eighths and tenths of a
device add up without rounding; a share that this unit cannot hold is refused.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

SHARE_UNITS = 10_080
"""How many units one whole device has; divisible by 7, 8, 9, 10, 16, 32 and 48."""


def parse_share(value: Any) -> Fraction:
    """Read a share of one device, such as ``1``, ``"1/7"`` or ``0.5``.

    Raises:
        ValueError: The value is no number, is not in (0, 1], or is not a whole number of 1/10080.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str | Fraction):
        raise ValueError("must be a fraction such as 1/7, or a number from 0 to 1")
    try:
        share = Fraction(str(value).replace(" ", ""))
    except (ValueError, ZeroDivisionError):
        raise ValueError("must be a fraction such as 1/7, or a number from 0 to 1") from None
    if not 0 < share <= 1:
        raise ValueError("must be greater than 0 and at most 1")
    if (share * SHARE_UNITS).denominator != 1:
        raise ValueError(
            f"must be a whole number of 1/{SHARE_UNITS}, so that usage adds up exactly;"
            " denominators such as 2, 4, 7, 8, 9, 10, 16, 32 and 48 are"
        )
    return share


Share = Annotated[
    Fraction,
    BeforeValidator(parse_share),
    PlainSerializer(str, return_type=str),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*(/\s*\d+\s*)?$"},
            ],
            "description": "Share of one device, such as 1/7, 0.5 or 1.",
        }
    ),
]
"""A share of one device as an exact fraction; written as ``1/7`` in JSON."""
