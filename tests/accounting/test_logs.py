"""Logs never show what variables hold."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
import structlog
from arcetri_accounting.logs import configure_logs

configure_logs(sys.argv[1])

def ask(token):
    raise OSError("no answer")

try:
    ask("very" + "-secret-" + "token")
except OSError as error:
    structlog.get_logger().error("request_broke", path="/x", exc_info=error)
"""


@pytest.mark.parametrize("style", ["json", "text"])
def test_a_traceback_says_where_and_never_what(style: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, style], capture_output=True, text=True, check=True
    )

    assert done.stdout == ""
    assert "request_broke" in done.stderr
    assert "OSError: no answer" in done.stderr
    assert "in ask" in done.stderr
    assert "very-secret-token" not in done.stderr
    assert len(done.stderr.splitlines()) < 20
