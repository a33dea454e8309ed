"""What `helm test` runs, by itself: what it says of parts that answer, and that have doubts."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.cluster import chart

SCRIPT = chart.CHART / "files" / "test.py"
REFUSED = "profiles.yaml was refused: flavors.t4 has no title."


class Part(BaseHTTPRequestHandler):
    """Says what the hub's health says."""

    def do_GET(self) -> None:
        well = self.path != "/unwell"
        found = {"/doubts": [REFUSED]}.get(self.path, [])
        said = {"unwell": [] if well else ["The provisioner does not answer."], "doubts": found}
        body = b"ok" if self.path == "/plain" else json.dumps(said).encode()
        self.send_response(200 if well else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Part)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def run(*checks: tuple[str, str, int], patience: float = 30) -> tuple[int, list[str]]:
    """Exit status and lines of the script, which waits so long for what is not well."""
    text = SCRIPT.read_text(encoding="utf-8")
    assert text.count("time.monotonic() + 30") == 1
    text = text.replace("time.monotonic() + 30", f"time.monotonic() + {patience}")
    done = subprocess.run(
        [sys.executable, "-c", text, json.dumps(checks)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"no_proxy": "*"},
    )
    assert not done.stderr
    return done.returncode, done.stdout.splitlines()


def test_a_part_that_is_well_may_have_doubts(url: str) -> None:
    status, said = run(
        ("the proxy", f"{url}/plain", 200),
        ("the ledger", f"{url}/well", 200),
        ("all that a session needs", f"{url}/doubts", 200),
    )
    assert status == 0
    assert said == [
        f"ok   the proxy {url}/plain 200",
        f"ok   the ledger {url}/well 200",
        f"ok   all that a session needs {url}/doubts 200",
        f"WARN all that a session needs {REFUSED}",
    ]


def test_a_part_that_is_not_well_fails_in_its_own_words(url: str) -> None:
    status, said = run(
        ("the hub", f"{url}/unwell", 200), ("it", "http://127.0.0.1:1", 200), patience=0
    )
    assert status == 1
    assert said[0].startswith(f"FAIL the hub {url}/unwell 503")
    assert "The provisioner does not answer." in said[0]
    assert said[1].startswith("FAIL it http://127.0.0.1:1 no answer: ")
