"""A single-user server reduced to its life: it listens, answers, starts children, and ends.

Run as the interpreter of an environment would be; what it does is told by FAKE_* variables.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        prefix = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"]).path
        if self.path == f"{prefix}api":
            body: dict[str, object] = {"version": "0"}
        elif self.path == f"{prefix}facts":
            body = {
                "env": dict(os.environ),
                "cwd": str(Path.cwd()),
                "argv": sys.argv[1:],
                "uid": os.getuid(),
                "gid": os.getgid(),
                "groups": os.getgroups(),
                "fds": [entry.name for entry in Path("/proc/self/fd").iterdir()],
                "pid": os.getpid(),
            }
        elif self.path.startswith(f"{prefix}run?"):
            script = unquote(self.path.split("?", 1)[1])
            done = subprocess.run(
                ["/bin/sh", "-c", script], capture_output=True, text=True, check=False
            )
            body = {"code": done.returncode, "out": done.stdout, "err": done.stderr}
        else:
            self.send_error(404)
            return
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


def main() -> None:
    # Whatever becomes of the test, nothing stays on the machine for long.
    signal.alarm(120)
    say("fake server begins")
    if "FAKE_EXIT" in os.environ:
        say(os.environ.get("FAKE_LAST_WORDS", "no such module"))
        sys.exit(int(os.environ["FAKE_EXIT"]))
    if "FAKE_STUBBORN" in os.environ:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(int(os.environ.get("FAKE_CRASH", "0"))))
    for number in range(int(os.environ.get("FAKE_CHILDREN", "0"))):
        # A kernel detaches itself; a daemon forgets its environment and its parent too.
        env = None if number % 2 == 0 else {"PATH": os.environ["PATH"]}
        subprocess.Popen(
            ["/bin/sh", "-c", '(sleep 119 & echo $! >> "$1")', "sh", os.environ["FAKE_PIDS"]],
            env=env,
            start_new_session=True,
        )
    time.sleep(float(os.environ.get("FAKE_DELAY", "0")))
    if "FAKE_SILENT" in os.environ:
        signal.pause()
    url = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    try:
        server = HTTPServer((url.hostname or "", url.port or 0), Handler, bind_and_activate=False)
        server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.server_bind()
        server.server_activate()
    except OSError as error:
        say(f"cannot listen: {error}")
        sys.exit(1)
    for count in range(int(os.environ.get("FAKE_CHATTER", "0"))):
        say(f"{count} " + "x" * 1000)
    server.serve_forever()


if __name__ == "__main__":
    main()
