"""The weight of a device slice, kept exact.

Usage is counted in integers of 1/10080 GPU-millisecond, so that sevenths, eighths and tenths of a
device add up without rounding; a share that this unit cannot hold is refused.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

SHARE_UNITS = 10_080
"""How many units one whole device has; divisible by 7, 8, 9, 10, 16, 32 and 48."""

_PATTERN = r"^\s*([0-9]{1,9}(\.[0-9]{1,9})?|[0-9]{1,9}\s*/\s*[0-9]{1,9})\s*$"
_WRITTEN = re.compile(_PATTERN)
_ALLOWED = "must be a fraction such as 1/7, or a number from 0 to 1"


def parse_share(value: Any) -> Fraction:
    """Read a share of one device, such as ``1``, ``"1/7"`` or ``0.5``; text has no exponent.

    Raises:
        ValueError: The value is no number, is not in (0, 1], or is not a whole number of 1/10080.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str | Fraction):
        raise ValueError(_ALLOWED)
    # Arithmetic on "1e-999999999", or on thousands of digits, would take for ever.
    if isinstance(value, str) and not _WRITTEN.match(value):
        raise ValueError(_ALLOWED)
    try:
        # A float by its shortest spelling: 0.1 means a tenth.
        share = Fraction("".join(value.split()) if isinstance(value, str) else str(value))
    except (ValueError, ZeroDivisionError):
        raise ValueError(_ALLOWED) from None
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
                {"type": "string", "pattern": _PATTERN},
            ],
            "description": "Share of one device, such as 1/7, 0.5 or 1.",
        }
    ),
]
"""A share of one device as an exact fraction; written as ``1/7`` in JSON."""
