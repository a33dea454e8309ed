"""Whatever bytes a catalog has, a check answers, and what it answers makes sense."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from arcetri_spawner.catalog import CheckResult, parse
from tests.support.catalogs import DEMO, NOW

_DEMO = DEMO.encode()
_TOKENS = [
    token.encode()
    for token in (
        *[
            ":",
            "-",
            "?",
            "{",
            "}",
            "[",
            "]",
            ",",
            "&",
            "*",
            "!",
            "|",
            ">",
            "'",
            '"',
            "%",
            "@",
            "`",
            "#",
            "\t",
            "\n",
            "<<",
            "---",
            "...",
            "~",
            "null",
            "yes",
            "08",
            "1e3",
            "&a",
            "*a",
            "!!str",
        ],
        "\n  ",
        "\n\t",
        "\x00",
        "\ufeff",
        "\u2028",
        "/../",
        "{user}",
        "9" * 40,
    )
]


def _makes_sense(data: bytes, result: CheckResult) -> None:
    assert (result.catalog is None) == bool(result.errors)
    lines = data.decode("utf-8", "replace").count("\n") + 2
    # YAML ends lines at these as well.
    lines += sum(
        data.count(mark) for mark in (b"\r", b"\xc2\x85", b"\xe2\x80\xa8", b"\xe2\x80\xa9")
    )
    for one in result.findings:
        assert 1 <= one.line <= lines
        assert one.column >= 1
        assert one.render().isprintable()
        assert len(one.render()) < 4_000
    places = [(one.line, one.column) for one in result.findings]
    assert places == sorted(places)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    _makes_sense(data, parse(data, "p.yaml", now=NOW))


@settings(max_examples=400, deadline=None)
@given(
    edits=st.lists(
        st.tuples(
            st.integers(0, len(_DEMO)),
            st.integers(0, 12),
            st.sampled_from(_TOKENS) | st.binary(max_size=4),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_a_catalog_with_pieces_cut_out_and_put_in(edits: list[tuple[int, int, bytes]]) -> None:
    data = _DEMO
    for start, length, piece in edits:
        data = data[:start] + piece + data[start + length :]

    _makes_sense(data, parse(data, "p.yaml", now=NOW))


@settings(max_examples=150, deadline=None)
@given(order=st.permutations(DEMO.split("\n")))
def test_a_catalog_with_its_lines_in_any_order(order: list[str]) -> None:
    data = "\n".join(order).encode()

    _makes_sense(data, parse(data, "p.yaml", now=NOW))
