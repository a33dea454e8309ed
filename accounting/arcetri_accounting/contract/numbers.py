"""The whole numbers that records are made of, each bounded so that every database has room for it.

A number beyond its bound is refused when the record is read; without bounds one record that no
column can hold would break a whole delivery, again and again.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Milliseconds = Annotated[int, Field(ge=0, le=253_402_300_799_999)]
"""Since 1970 in UTC, up to the end of the year 9999."""
Amount = Annotated[int, Field(ge=0, lt=2**62)]
"""Of whatever: milliseconds of a boot, bytes, millijoules, units of use."""
Number = Annotated[int, Field(ge=1, lt=2**62)]
"""Of a record, within its epoch or journal: from 1 on."""
Count = Annotated[int, Field(ge=0, lt=2**31)]
"""Of things that are counted one by one."""
Generation = Annotated[int, Field(ge=1, lt=2**31)]
"""Counts the lives of a device that keeps its uuid: MIG re-made, driver loaded anew."""
Cores = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
