"""Reading records of past usage, line by line: CSV, and what Slurm's ``sacct`` prints. Pure.

A record is one physical line, so that a quote that is not closed spoils its own line only.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from difflib import get_close_matches
from fractions import Fraction
from typing import BinaryIO, Final
from zoneinfo import ZoneInfo

from arcetri_accounting.contract.share import SHARE_UNITS
from arcetri_accounting.contract.units import to_ms
from arcetri_accounting.ledger.errors import Refused
from arcetri_accounting.ledger.times import parse

COLUMNS: Final = ("external_id", "start", "end", "user", "group", "flavor", "gpus")
SACCT_COLUMNS: Final = ("JobID", "User", "Account", "Partition", "Start", "End", "AllocTRES")
MAX_LINE: Final = 65_536
"""Bytes."""
MAX_GPUS: Final = 10_000
MAX_DAYS: Final = 366
MAX_GPU_DAYS: Final = 100_000
"""Of one record."""
MAX_CORE_DAYS: Final = 1_000_000
_DAY_MS: Final = 86_400_000
MAX_DIGITS: Final = 100
"""Of a number."""
_GPUS: Final = re.compile(r"[0-9]+(\.[0-9]+)?|\.[0-9]+")
_MIG: Final = re.compile(r"(?<![0-9a-z])(([1-7])g\.[0-9]{1,3}gb)")
_MEMORY: Final = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "": 2**20}


@dataclass(frozen=True, slots=True)
class Entry:
    """One record that can be loaded."""

    line: int
    external_id: str
    t0: int
    t1: int
    user: str
    group: str
    flavor: str
    share_u: int
    """In 1/10080 of a device; 0 where it held none."""
    millicores: int = 0
    memory: int = 0
    rounded: str = ""
    """What was written, where the unit could not hold it exactly."""
    note: str = ""
    """How it was read, where it could be read in two ways."""

    @property
    def dur_ms(self) -> int:
        """How long it lasted."""
        return self.t1 - self.t0

    def sha256(self) -> bytes:
        """Of what the record says."""
        said = (self.t0, self.t1, self.user, self.group, self.flavor, self.share_u)
        more = (self.millicores, self.memory)
        return hashlib.sha256(json.dumps([*said, *more]).encode()).digest()


@dataclass(frozen=True, slots=True)
class Bad:
    """A line that is not loaded, and why."""

    line: int
    why: str
    external_id: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A line that is no record of its own, such as a step of a job."""

    line: int


Line = Entry | Bad | Skipped
_Row = Mapping[str, str]


def read_csv(file: BinaryIO, now: int) -> Iterator[Line]:
    """Read ``external_id,start,end,user,group,flavor,gpus``; the header names the order.

    Args:
        file: UTF-8, with commas, or semicolons where its header has them.
        now: Milliseconds since 1970: later than that nothing can have ended.

    Raises:
        Refused: The header is not that of such a file.
    """

    def entry(line: int, row: _Row) -> Line:
        share, rounded = _gpus(row["gpus"])
        return Entry(
            line,
            *_names(row["external_id"], "external_id"),
            *_span(parse(row["start"]), parse(row["end"]), now),
            *_names(row["user"], "user"),
            _group(row["group"]),
            *_names(row["flavor"], "flavor"),
            share,
            rounded=rounded,
        )

    return _read(file, COLUMNS, ",", entry)


def read_sacct(file: BinaryIO, now: int, zone: str) -> Iterator[Line]:
    """Read what Slurm's ``sacct`` prints with ``--parsable2`` or ``--parsable``.

    It needs ``--format=JobID,User,Account,Partition,Start,End,AllocTRES``; other columns besides
    these are not looked at.

    Steps of jobs are skipped: the job has their use. So are jobs that never started. The flavour is
    the GPU's type where AllocTRES has one, else the partition; a MIG profile in the type counts
    as its share of the device. Of a time that the clocks showed twice, the first is taken.

    Args:
        file: What it printed, with the header.
        now: Milliseconds since 1970.
        zone: Where a time without an offset was meant.

    Raises:
        Refused: The header is not that of such a file.
    """

    def entry(line: int, row: _Row) -> Line:
        job = row["JobID"]
        if "." in job or row["Start"] in ("None", "Unknown", ""):
            return Skipped(line)
        if row["End"] in ("Unknown", ""):
            raise ValueError("the job has not ended; import it when it has")
        tres = _tres(row["AllocTRES"])
        gpus = tres.get("gres/gpu", "0")
        typed = sorted(name for name in tres if name.startswith("gres/gpu:"))
        if len(typed) > 1:
            raise ValueError(f"AllocTRES has several types of GPU: {', '.join(typed)}")
        if typed and gpus == "0":
            gpus = tres[typed[0]]
        flavor = typed[0].partition(":")[2] if typed else row["Partition"]
        part = _slice(flavor) if typed else Fraction(1)
        share, rounded = _gpus(gpus, part) if gpus != "0" else (0, "")
        notes = (_twice(row["Start"], "Start", zone), _twice(row["End"], "End", zone))
        return Entry(
            line,
            *_names(job, "JobID"),
            *_span(_local(row["Start"], zone), _local(row["End"], zone), now),
            *_names(row["User"], "User"),
            _group(row["Account"]),
            *_names(flavor, "Partition"),
            share,
            millicores=_cores(tres.get("cpu", "0")),
            memory=_memory(tres.get("mem", "0")),
            rounded=rounded,
            note="; ".join(filter(None, notes)),
        )

    return _read(file, SACCT_COLUMNS, "|", entry, others=True)


def _read(
    file: BinaryIO,
    columns: Sequence[str],
    delimiter: str,
    entry: Callable[[int, _Row], Line],
    *,
    others: bool = False,
) -> Iterator[Line]:
    lines = _lines(file)
    _, raw = next(lines, (1, b""))
    first = raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").strip("\r\n")
    if delimiter == "," and ";" in first and "," not in first:
        delimiter = ";"
    header = [name.strip().strip('"') for name in first.split(delimiter)] if first.strip() else []
    _check(header, columns, delimiter, others=others)
    return _entries(lines, header, delimiter, entry)


def _entries(
    lines: Iterator[tuple[int, bytes]],
    header: list[str],
    delimiter: str,
    entry: Callable[[int, _Row], Line],
) -> Iterator[Line]:
    for number, raw in lines:
        if not raw.strip():
            continue
        row: dict[str, str] = {}
        try:
            if len(raw) > MAX_LINE:
                raise ValueError(f"the line has more than {MAX_LINE} bytes")
            values = _fields(raw.decode("utf-8").strip("\r\n"), delimiter)
            if len(values) != len(header):
                raise ValueError(f"it has {len(values)} fields, the header {len(header)}")
            row = {name: value.strip() for name, value in zip(header, values, strict=True)}
            yield _bounded(entry(number, row))
        except UnicodeDecodeError:
            yield Bad(number, "it is not UTF-8; write the file in UTF-8")
        except csv.Error as error:
            yield Bad(number, f"it is no line of CSV: {error}; a quote may not be closed")
        except (ValueError, OverflowError) as error:
            yield Bad(number, str(error), next(iter(row.values()), "")[:64])


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        rest = line
        while not rest.endswith(b"\n") and (rest := file.readline(MAX_LINE)):
            pass
        yield number, line


def _fields(line: str, delimiter: str) -> list[str]:
    if delimiter == "|":
        # Slurm quotes nothing.
        return line.split("|")
    return next(csv.reader([line], delimiter=delimiter, strict=True), [])


def _check(header: list[str], columns: Sequence[str], delimiter: str, *, others: bool) -> None:
    wanted = delimiter.join(columns)
    missing = [name for name in columns if name not in header]
    unknown = [] if others else [name for name in header if name not in columns]
    twice = sorted({name for name in header if name in columns and header.count(name) > 1})
    said = []
    if missing:
        said.append(f"it lacks {', '.join(missing)}")
    for name in unknown:
        near = get_close_matches(name, columns, 1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        said.append(f"it has a column {name[:40]!r}{meant}")
    if twice:
        said.append(f"it has {', '.join(twice)} twice")
    if said:
        raise Refused(
            f"Line 1 is no header of such a file: {'; '.join(said)}.",
            code="import_header",
            remedy=f"Begin the file with {wanted}.",
        )


def _names(value: str, name: str) -> tuple[str]:
    if not value:
        raise ValueError(f"{name} is empty")
    if len(value) > 255 or not value.isprintable():
        raise ValueError(f"{name} must have at most 255 characters, all printable")
    return (value,)


def _group(value: str) -> str:
    (found,) = _names(value, "group")
    if found == "everyone":
        return found
    parts = found.strip("/").split("/")
    if not all(parts):
        raise ValueError(f"group {found[:80]!r} is no path such as /ai/cms")
    return "/" + "/".join(parts)


def _span(start: datetime, end: datetime, now: int) -> tuple[int, int]:
    if start.year < 1980:
        raise ValueError("start is before 1980")
    t0, t1 = to_ms(start), to_ms(end)
    if t1 <= t0:
        raise ValueError("end is not after start")
    if t1 - t0 > MAX_DAYS * 86_400_000:
        raise ValueError(f"it lasts more than {MAX_DAYS} days")
    if t1 > now:
        raise ValueError("end is in the future; import it when it has ended")
    return t0, t1


def _bounded(line: Line) -> Line:
    if isinstance(line, Entry):
        for name, amount, most in (
            ("GPU", Fraction(line.share_u, SHARE_UNITS), MAX_GPU_DAYS),
            ("core", Fraction(line.millicores, 1000), MAX_CORE_DAYS),
        ):
            days = amount * line.dur_ms / _DAY_MS
            if days > most:
                raise ValueError(
                    f"it has {round(days)} {name}-days, and one record may have {most}; if that is"
                    " no mistake, write it as several records with shorter spans"
                )
    return line


def _slice(flavor: str) -> Fraction:
    """What one of Slurm's devices of this type is of a whole one: less than 1 for MIG."""
    match = _MIG.search(flavor.lower())
    if match is None:
        return Fraction(1)
    # Only an A30 has these; it is cut in quarters, all others in sevenths.
    return Fraction(int(match[2]), 4 if match[1] in ("1g.6gb", "2g.12gb", "4g.24gb") else 7)


def _twice(text: str, name: str, zone: str) -> str:
    """Say so of a local time that the clocks showed twice."""
    moment = _local(text, zone)
    first, second = moment.replace(fold=0), moment.replace(fold=1)
    if first.utcoffset() <= second.utcoffset():  # type: ignore[operator]  # both have a zone
        return ""
    return f"{name} {text} was twice in {zone}, and is read as the first, {first.isoformat()}"


def _gpus(text: str, part: Fraction = Fraction(1)) -> tuple[int, str]:
    if not _GPUS.fullmatch(text):
        raise ValueError(f"gpus {text[:40]!r} is no decimal number such as 1 or 0.5")
    if len(text) > MAX_DIGITS:
        raise ValueError(f"gpus {text[:40]}... has more than {MAX_DIGITS} characters")
    exact = Fraction(text) * part * SHARE_UNITS
    units = round(exact)
    if not units:
        raise ValueError(f"gpus {text} is less than half of 1/{SHARE_UNITS} of a device")
    if units > MAX_GPUS * SHARE_UNITS:
        raise ValueError(f"gpus {text} is more than {MAX_GPUS}")
    return units, "" if exact == units else text


def share_text(share_u: int) -> str:
    """A number of devices with six decimals."""
    shown = Decimal(share_u) / SHARE_UNITS
    return str(shown.quantize(Decimal("0.000001"), ROUND_HALF_EVEN))


def exact_text(share_u: int) -> str:
    """The same exactly: ``1/3``, or ``2 1/3``, which no decimal is."""
    whole, part = divmod(share_u, SHARE_UNITS)
    said = [str(whole)] if whole or not part else []
    return " ".join([*said, str(Fraction(part, SHARE_UNITS))] if part else said)


def _tres(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        if name:
            found[name.strip()] = value.strip()
    return found


def _cores(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise ValueError(f"cpu={text[:40]} in AllocTRES is no number of cores")
    return int(text) * 1000


def _memory(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)([KMGT]?)", text)
    if match is None:
        raise ValueError(f"mem={text[:40]} in AllocTRES is no amount such as 16G")
    return int(Fraction(match[1]) * _MEMORY[match[2]])


def _local(text: str, zone: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is no time such as 2026-03-29T10:00:00") from None
    return found if found.tzinfo else found.replace(tzinfo=ZoneInfo(zone))
