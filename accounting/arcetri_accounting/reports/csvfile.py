"""A report as CSV: one header, one line a row, the columns of the reference, and no total line.

Written as RFC 4180 says, in UTF-8 with a byte order mark, which spreadsheets take as a sign of it.
A text that a spreadsheet would run as a formula gets an apostrophe before it.
"""

from __future__ import annotations

import csv
import io
from typing import Final, Literal

from arcetri_accounting.reports.models import AmountsAnswer, RowAnswer, rows_answer
from arcetri_accounting.reports.service import Report

Decimals = Literal["point", "comma"]

AMOUNTS: Final = tuple(AmountsAnswer.model_fields)
COLUMNS: Final = (
    *("site", "timezone", "from", "to", "by", "simulated", "final"),
    *("key", "label", "account"),
    *AMOUNTS,
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
_MARK: Final = "\ufeff"


def guarded(text: str) -> str:
    """Text that no spreadsheet runs."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def write(report: Report, decimals: Decimals = "point") -> str:
    """A report's rows as CSV.

    Args:
        report: What to write.
        decimals: ``comma`` writes 1,5 and parts fields by semicolons, as a spreadsheet in Italian,
            German or French expects.
    """
    comma = decimals == "comma"
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=";" if comma else ",", lineterminator="\r\n")
    writer.writerow(COLUMNS)
    period = report.wanted.period
    same = [
        *(guarded(report.context.site), report.context.zone.key),
        *(period.first.isoformat(), period.last.isoformat(), report.by),
        *(report.wanted.simulated, "yes" if report.completeness.final else "no"),
    ]
    for row in rows_answer(report):
        texts = [guarded(text) for text in (row.key, row.label, row.account or "")]
        writer.writerow([*same, *texts, *_numbers(row, comma=comma)])
    return _MARK + out.getvalue()


def _numbers(row: RowAnswer, *, comma: bool) -> list[str]:
    values = (getattr(row, name) for name in AMOUNTS)
    texts = ("" if value is None else str(value) for value in values)
    return [text.replace(".", ",") if comma else text for text in texts]
