"""An API server at the wire, for what asks it who sends a token: strict about what it is asked."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import certifi

from arcetri_accounting.client.apiserver import ApiServer

OWN = "the service's own token"
Status = dict[str, Any]


def token(audience: str = "arcetri-ledger", exp: float = 4_000_000_000, **more: Any) -> str:
    """What looks like a service account's token; only the API server knows whether it is one."""

    def part(content: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")

    return f"{part({'alg': 'RS256'})}.{part({'aud': [audience], 'exp': exp, **more})}.c2lnbmVk"


def somebody(
    name: str = "system:serviceaccount:agents:arcetri-agent",
    audience: str = "arcetri-ledger",
    **extra: str,
) -> Status:
    """The status of a review: yes."""
    return {
        "authenticated": True,
        "audiences": [audience],
        "user": {
            "username": name,
            "extra": {
                f"authentication.kubernetes.io/{key.replace('_', '-')}": [value]
                for key, value in extra.items()
            },
        },
    }


NOBODY: Status = {"authenticated": False, "error": "no"}


class Api:
    """Answers each review with what ``answer`` returns: a status code and a review's status."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answer: Callable[[str], tuple[int, Status]] = lambda _: (201, NOBODY)
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.path == "/apis/authentication.k8s.io/v1/tokenreviews"
                assert body["kind"] == "TokenReview"
                if self.headers["Authorization"] != f"Bearer {OWN}":
                    code, status = 401, {}
                else:
                    api.asked.append(body["spec"])
                    code, status = api.answer(body["spec"]["token"])
                said = json.dumps({**body, "status": status}).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        own = folder / "token"
        own.write_text(f"{OWN}\n")
        url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.server = ApiServer(url, own, Path(certifi.where()))

    def close(self) -> None:
        """Be away."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def running(folder: Path) -> Iterator[Api]:
    """An API server for as long as the context lasts."""
    api = Api(folder)
    try:
        yield api
    finally:
        api.close()
