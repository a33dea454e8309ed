"""Kubernetes' quantities: ``2``, ``500m``, ``8Gi``."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import total_ordering
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([KMGTPE]i|[numkMGTPE])|[eE]([+-]?\d+))?")
_SUFFIXES = {
    **{
        suffix: Decimal(1024) ** power
        for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)
    },
    **{
        suffix: Decimal(1000) ** power
        for power, suffix in enumerate(("k", "M", "G", "T", "P", "E"), 1)
    },
    "m": Decimal(10) ** -3,
    "u": Decimal(10) ** -6,
    "n": Decimal(10) ** -9,
}


@total_ordering
class Quantity:
    """An amount of a resource, and how it was written.

    Equal amounts are equal, however they are written: ``Quantity("1") == Quantity("1000m")``.

    Attributes:
        wire: As the API has it.
        amount: In the resource's unit: cores, bytes, devices.
    """

    __slots__ = ("amount", "wire")

    def __init__(self, value: str | int | Decimal) -> None:
        """Take an amount.

        Raises:
            ValueError: It is none.
        """
        if isinstance(value, Decimal):
            value = format(value.normalize(), "f")
        found = _FORM.fullmatch(value) if isinstance(value, str) else None
        if isinstance(value, str) and found is None:
            raise ValueError(f"{value!r} is no quantity, as 2, 500m or 8Gi are")
        self.wire: str | int = value
        self.amount = Decimal(value) if found is None else _amount(found)

    def __str__(self) -> str:
        return str(self.wire)

    def __repr__(self) -> str:
        return f"Quantity({self.wire!r})"

    def __eq__(self, other: object) -> bool:
        return self.amount == other.amount if isinstance(other, Quantity) else NotImplemented

    def __lt__(self, other: Quantity) -> bool:
        return self.amount < other.amount

    def __hash__(self) -> int:
        return hash(self.amount)

    def __bool__(self) -> bool:
        return bool(self.amount)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: Any, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        def take(value: object) -> Quantity:
            if isinstance(value, Quantity):
                return value
            if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
                raise ValueError("a quantity is a text or a whole number")
            return cls(value)

        return core_schema.no_info_plain_validator_function(
            take,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda one: one.wire),
        )


def _amount(found: re.Match[str]) -> Decimal:
    number, suffix, exponent = found.groups()
    if exponent:
        return Decimal(number).scaleb(int(exponent))
    return Decimal(number) * _SUFFIXES[suffix] if suffix else Decimal(number)
