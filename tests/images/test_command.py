"""``make images``, as far as it goes without building."""

from __future__ import annotations

import re
from importlib.metadata import version

from click.testing import CliRunner

from tools import images


def test_it_says_what_there_is() -> None:
    for names in ((), ("torhc",)):
        said = CliRunner().invoke(images.main, names)
        assert said.exit_code == 1
        assert "torch" in said.stderr
        # What it shows can be typed.
        (shown,) = re.findall(r'make images ENV="([^"]+)"', said.stderr)
        assert {*shown.split()} <= {*images.NAMES}
    assert "torhc" in said.stderr


def test_an_image_is_pushed_by_its_newest_release_or_the_platforms_version() -> None:
    assert images.newest("torch") == "2026.11"
    assert images.newest("hub") == version("arcetri")
