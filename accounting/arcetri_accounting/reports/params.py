"""What a report's address may say; the same for the API, the pages and the files."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from arcetri_accounting.reports.access import View, spelt
from arcetri_accounting.reports.numbers import By
from arcetri_accounting.reports.periods import Period, month
from arcetri_accounting.reports.query import Filter, Listed
from arcetri_accounting.reports.service import Asked, Context

MAX_TEXT = 255


class Params(BaseModel):
    """The filters; a form sends what was left empty as empty text, which narrows nothing."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, frozen=True)

    first: date | None = Field(
        default=None, alias="from", description="First day, of the site's zone; this month's."
    )
    last: date | None = Field(
        default=None, alias="to", description="Last day, included; the end of the first's month."
    )
    month: str | None = Field(
        default=None,
        pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$",
        description="Instead of both, such as 2026-11.",
    )
    view: View | None = Field(
        default=None,
        description="Whose usage. Left out: all for administrators; else the group's, where one"
        " is named and the reader leads it; else the reader's own.",
    )
    group: str | None = Field(
        default=None,
        max_length=MAX_TEXT,
        description="Full path; the slash it begins with may be left out.",
    )
    below: bool = Field(default=False, description="With the groups below that one.")
    user: str | None = Field(default=None, max_length=MAX_TEXT, description="Name or opaque id.")
    flavor: str | None = Field(default=None, max_length=MAX_TEXT)
    kind: Literal["notebook", "batch"] | None = None
    simulated: Listed | None = Field(
        default=None,
        description="Simulated devices are never added to real ones: exclude (so it is where"
        " nothing is said), only; lists may have both.",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_nothing(cls, value: Any) -> Any:
        return None if value == "" else value

    @field_validator("group", mode="after")
    @classmethod
    def _in_one_spelling(cls, value: str | None) -> str | None:
        return None if value is None else spelt(value)

    @field_validator("below", mode="before")
    @classmethod
    def _unset(cls, value: Any) -> Any:
        return False if value in (None, "") else value

    def period(self, found: Context) -> Period:
        """The period that is meant; this month where nothing is said.

        Raises:
            arcetri_accounting.reports.periods.BadPeriod: No report can cover it.
        """
        if self.month:
            return month(self.month, found.zone)
        this = found.this_month()
        if self.first is None and self.last is None:
            return this
        first = self.first or (self.last or found.today).replace(day=1)
        if self.last is not None:
            return Period(first, self.last, found.zone)
        ends = month(f"{first.year:04d}-{first.month:02d}", found.zone).last
        return Period(first, ends, found.zone)

    def asked(self, found: Context, by: By = "group", simulated: Listed = "exclude") -> Asked:
        """The report that is meant; ``simulated`` where nothing is said of it."""
        return Asked(
            Filter(
                period=self.period(found),
                group=self.group,
                below=self.below,
                user=self.user,
                flavor=self.flavor,
                kind=self.kind,
                simulated=self.simulated or simulated,
            ),
            by,
            self.view,
        )
