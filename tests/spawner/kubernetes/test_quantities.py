"""Amounts as Kubernetes writes them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcetri_spawner.backends.kubernetes import quantities


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("2", 2),
        ("500m", Fraction(1, 2)),
        ("0.5", Fraction(1, 2)),
        (".5", Fraction(1, 2)),
        ("1.", 1),
        ("8Gi", 8 * 1024**3),
        ("1.5Gi", 3 * 1024**3 // 2),
        ("8G", 8 * 10**9),
        ("7k", 7000),
        ("1E", 10**18),
        ("1Ei", 1024**6),
        ("1e3", 1000),
        ("1E3", 1000),
        ("12e-1", Fraction(6, 5)),
        ("100n", Fraction(1, 10**7)),
        ("-1", -1),
        (4, 4),
        (0.1, Fraction(1, 10)),
    ],
)
def test_every_spelling(text: str | int | float, amount: Fraction) -> None:
    assert quantities.parse(text) == amount


@pytest.mark.parametrize("text", ["", "x", "1 Gi", "1KI", "1K", "Gi", "1e", "1.2.3", "--1", "0x10"])
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        quantities.parse(text)


def test_what_the_scheduler_counts_is_rounded_up() -> None:
    assert quantities.whole("1.5") == 2
    assert quantities.whole("100m") == 1
    assert quantities.millis("100u") == 1
    assert quantities.millis("0.1") == 100
    assert quantities.cores_to_millis(0.1) == 100


@given(st.integers(1, 2**60))
def test_bytes_are_written_exactly(size: int) -> None:
    assert quantities.whole(quantities.bytes_text(size)) == size


@given(st.integers(1, 1024_000))
def test_cores_are_written_exactly(thousandths: int) -> None:
    text = quantities.cores_text(thousandths / 1000)
    assert quantities.millis(text) == thousandths
