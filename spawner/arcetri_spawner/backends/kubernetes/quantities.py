"""Amounts as Kubernetes writes them, read and written exactly."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction
from typing import Final

_QUANTITY = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))"
    r"(?P<suffix>[numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,3})?"
)
_FACTORS: Final = {
    "": Fraction(1),
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 10**3),
    **{letter: Fraction(10 ** (3 * power)) for power, letter in enumerate("kMGTPE", 1)},
    **{f"{letter}i": Fraction(1024**power) for power, letter in enumerate("KMGTPE", 1)},
}


def parse(text: str | int | float) -> Fraction:
    """Return an amount exactly.

    Raises:
        ValueError: It is not an amount as Kubernetes writes it.
    """
    match = _QUANTITY.fullmatch(str(text).strip())
    if match is None:
        raise ValueError(f"{text!r} is not an amount")
    number, suffix = Fraction(match["number"]), match["suffix"] or ""
    if suffix[:1] in ("e", "E") and len(suffix) > 1 and suffix[1] != "i":
        return number * Fraction(10) ** int(suffix[1:])
    return number * _FACTORS[suffix]


def whole(text: str | int | float) -> int:
    """Return an amount rounded up to a whole number, as the scheduler counts bytes and devices."""
    return _up(parse(text))


def millis(text: str | int | float) -> int:
    """Return an amount in thousandths, rounded up, as the scheduler counts cores."""
    return _up(parse(text) * 1000)


def cores_to_millis(cores: float) -> int:
    """Return the catalog's cores in thousandths of a core, rounded up."""
    return int((Decimal(str(cores)) * 1000).to_integral_value(ROUND_CEILING))


def cores_text(cores: float) -> str:
    """Write the catalog's cores as the API server would: ``2``, ``500m``."""
    return millis_text(cores_to_millis(cores))


def millis_text(thousandths: int) -> str:
    """Write thousandths of a core as the API server would: ``2``, ``500m``."""
    return f"{thousandths // 1000}" if thousandths % 1000 == 0 else f"{thousandths}m"


def bytes_text(size: int) -> str:
    """Write bytes in the largest binary unit that holds them exactly: ``8Gi``."""
    for power, letter in reversed(list(enumerate("KMGTPE", 1))):
        if size and size % 1024**power == 0:
            return f"{size // 1024**power}{letter}i"
    return str(size)


def _up(amount: Fraction) -> int:
    return -(-amount.numerator // amount.denominator)
