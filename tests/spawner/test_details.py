"""What is kept of raw text: no secret, nothing unprintable, and not too much."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcetri_spawner.details import LIMIT, TAKEN_OUT, kept

TOKEN = "0f6f7d2b9c1e4a5d8b7a6c5d4e3f2a1b"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"JUPYTERHUB_API_TOKEN={TOKEN}", TOKEN),
        (f"the hub refused {TOKEN}.", TOKEN),
        ("GET /api?token=abc123&x=1", "abc123"),
        ("password: hunter2hunter2hunter2", "hunter2hunter2hunter2"),
        ('{"client_secret": "s3cr3t-s3cr3t-s3cr3t"}', "s3cr3t-s3cr3t-s3cr3t"),
        ("OPENAI_API_KEY=sk-abc", "sk-abc"),
        ("Authorization: Bearer abcdefghijklmnopqrstuvwxyz", "abcdefghijklmnopqrstuvwxyz"),
        ("clone https://alice:pw@git.example/x failed", "alice:pw"),
        ("got eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2ln-bmF0dXJl", "eyJzdWIiOiJhbGljZSJ9"),
    ],
)
def test_what_looks_like_a_secret_is_taken_out(text: str, secret: str) -> None:
    found = kept(f"before\n{text}\nafter")
    assert secret not in found
    assert TAKEN_OUT in found
    assert found.startswith("before\n")
    assert found.endswith("\nafter")


@pytest.mark.parametrize(
    "text",
    [
        "failed to authorize: failed to fetch anonymous token: unexpected status: 401 Unauthorized",
        'MountVolume.SetUp failed for volume "x" : secret "session-1" not found',
        f"image@sha256:{'0a' * 32} not found",
        "pod session-8c2f6d1e-0b7a-4f0e-9a55-0d2d6a3f1c77 on gpu-7: Failed Evicted",
        "0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 node(s) had taints",
        "no basic auth credentials",
        "two\n\tlines",
    ],
)
def test_what_is_no_secret_is_kept_word_for_word(text: str) -> None:
    assert kept(text) == text


def test_colours_and_control_characters_go() -> None:
    # A NUL cannot be stored, and nothing else of these can be shown.
    assert kept("\x1b[31mred\x1b[0m a\x00b\x07") == "red a\ufffdb\ufffd"


def test_of_a_long_text_the_beginning_and_the_end_are_kept() -> None:
    found = kept("first\n" + "ä" * 10 * LIMIT + "\nlast")
    assert found.startswith("first\n")
    assert found.endswith("\nlast")
    assert LIMIT - 8 < len(found.encode()) <= LIMIT


@given(st.text())
def test_whatever_comes_is_bounded_and_can_be_stored(text: str) -> None:
    found = kept(text * 50)
    assert len(found.encode()) <= LIMIT
    assert "\x00" not in found
