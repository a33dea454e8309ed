"""What stands between the writers and the ledger: it passes on, and keeps what it passed on."""

from __future__ import annotations

import http.client
import json
import threading
from collections import deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Captured:
    """A request that the ledger answered with 200."""

    path: str
    token: str
    body: bytes

    def content(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


class Relay:
    """Listens for as long as a test runs, whatever becomes of the ledger behind it."""

    def __init__(self, port: int) -> None:
        """Pass on to a port of this machine."""
        self._port = port
        self.captured: deque[Captured] = deque(maxlen=400)
        self.lose_answers = 0
        """How many answers are to be lost on their way."""
        relay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = Captured(self.path, self.headers["Authorization"], body)
                answer = relay.send(request)
                if answer is None or relay._loses():
                    # As the ledger's own end would: the connection closes, with no answer.
                    self.close_connection = True
                    return
                status, content = answer
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_: object) -> None:
                """A writer that was killed is no error here."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/services/usage"

    def send(self, request: Captured) -> tuple[int, bytes] | None:
        """Deliver a request to the ledger; None where it does not answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        headers = {"Authorization": request.token, "Content-Type": "application/json"}
        try:
            connection.request("POST", request.path, request.body, headers)
            response = connection.getresponse()
            answer = response.status, response.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        if answer[0] == 200:
            self.captured.append(request)
        return answer

    def healthy(self) -> bool:
        """Whether the ledger, and its database, answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", "/services/usage/api/v1/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _loses(self) -> bool:
        lost = self.lose_answers > 0
        self.lose_answers -= lost
        return lost
