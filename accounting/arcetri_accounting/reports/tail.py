"""What a running session has used since its agent's last cut: provisional. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from arcetri_accounting.contract.units import QUARTER_MS
from arcetri_accounting.ledger.rollups import Piece, split
from arcetri_accounting.reports.numbers import NOTHING, Sums
from arcetri_accounting.reports.periods import Period, local_day


@dataclass(frozen=True, slots=True)
class Tail:
    """One allocation's tail, as its agent last told it."""

    t0: int
    dur_ms: int
    share_u: int
    millicores: int = 0
    util_ms: int = 0
    used_u: int = 0
    occupied_ms: int = 0
    unobserved_ms: int = 0
    energy_mj: int = 0
    mem_peak: int | None = None

    def quarters(self) -> Iterator[tuple[int, Sums]]:
        """Its sums by quarter hour, cut as the ledger cuts usage: nothing is lost to rounding."""
        whole = Piece(
            allocation_id=0,
            t0=self.t0,
            dur_ms=self.dur_ms,
            util_ms=self.util_ms,
            used_u=self.used_u,
            occupied_ms=self.occupied_ms,
            unobserved_ms=self.unobserved_ms,
            energy_mj=self.energy_mj,
        )
        for quarter, part in split(whole):
            yield (
                quarter,
                Sums(
                    alloc_u=self.share_u * part.dur_ms,
                    used_u=part.used_u,
                    util_u=self.share_u * part.util_ms,
                    occupied_u=self.share_u * part.occupied_ms,
                    unobserved_u=self.share_u * part.unobserved_ms,
                    core_ms=self.millicores * part.dur_ms,
                    energy_mj=part.energy_mj,
                ),
            )

    def days(self, period: Period) -> Iterator[tuple[date, Sums]]:
        """Its sums within a period, with the local day each part lies in."""
        first, after = period.quarters
        for quarter, sums in self.quarters():
            if first <= quarter < after:
                yield local_day(quarter * QUARTER_MS, period.zone), sums

    def within(self, period: Period) -> Sums:
        """Its sums within a period."""
        result = NOTHING
        for _, sums in self.days(period):
            result = result + sums
        return result
