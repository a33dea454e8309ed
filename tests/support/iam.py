"""A development IAM for tests: a real process on a free port, with a registered client.

It ends with whoever started it, however that ends: it watches its standard input.

::

    with DevIam.started(tmp_path, callbacks=["http://127.0.0.1:8000/hub/oauth_callback"]) as iam:
        iam.set_groups("alice", ["/arcetri/virgo"])
        tokens = iam.tokens("alice")
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import secrets
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from arcetri_hub.devidp.demo import DEMO_USERS

CALLBACK = "http://127.0.0.1:9/hub/oauth_callback"
SCOPE = "openid profile email wlcg.groups offline_access"
# Plain HTTP only: without this, every client would first read all the certificates of the world
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class DevIam:
    """A development IAM and its one client.

    Attributes:
        issuer: With the slash at its end.
        client_id: The registered client.
        client_secret: Its secret; also in the file ``secret_file``.
        http: A client without a cookie jar's surprises for plain requests.
    """

    client_id = "arcetri-hub"

    def __init__(
        self, folder: Path, callbacks: Sequence[str] = (CALLBACK,), options: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        self.callbacks = list(callbacks)
        self.options = list(options)
        self.secret_file = folder / "client-secret"
        self.state_file = folder / "iam.json"
        self.log_file = folder / "iam.log"
        self.passwords = {user.name: user.password for user in DEMO_USERS}
        self.port = 0
        self.issuer = ""
        self.http = httpx.Client(timeout=30, trust_env=False, verify=_NO_TLS)
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextmanager
    def started(
        cls, folder: Path, callbacks: Sequence[str] = (CALLBACK,), options: Sequence[str] = ()
    ) -> Iterator[Self]:
        """Start one, and stop it at the end."""
        iam = cls(folder, callbacks, options)
        iam.start()
        try:
            yield iam
        finally:
            iam.stop()
            iam.http.close()

    # The process

    def start(self) -> None:
        """Start the process; a second time, on the same port and with the same state."""
        command = [sys.executable, "-m", "arcetri_hub.devidp", "--until-stdin-closes"]
        command += ["--port", str(self.port), "--state", str(self.state_file)]
        command += ["--client-id", self.client_id, "--client-secret-file", str(self.secret_file)]
        for callback in self.callbacks:
            command += ["--hub-callback", callback]
        with self.log_file.open("ab") as log:
            process = subprocess.Popen(
                [*command, *self.options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._process = process
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            self.stop()
            raise RuntimeError(f"the development IAM did not start:\n{self.log_file.read_text()}")
        ready = json.loads(line)
        self.port, self.issuer = ready["port"], ready["issuer"]

    def stop(self, *, kill: bool = False) -> None:
        """Stop the process, with ``kill`` at once, as a crash would."""
        process, self._process = self._process, None
        if process is None:
            return
        if kill:
            process.kill()
        else:
            process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    @property
    def client_secret(self) -> str:
        """The client's secret."""
        return self.secret_file.read_text().strip()

    def url(self, path: str) -> str:
        """The address of an endpoint: ``url("token")``."""
        return self.issuer + path.removeprefix("/")

    # What an administrator does. Users are named by user name or sub, groups with or without slash

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Call ``/dev/api/PATH``, and return its answer."""
        response = self.http.request(method, self.url(f"dev/api/{path}"), json=body or {})
        if response.status_code != 200:
            raise AssertionError(f"{method} {path}: {response.status_code} {response.text}")
        return response.json()

    def state(self) -> Any:
        """People, groups, clients, faults, ``requests`` and ``peaks`` by path."""
        return self.call("GET", "state")

    def user(self, name: str) -> Any:
        """One person, as ``state`` shows them."""
        users = self.state()["users"]
        return next(user for user in users if name in (user["username"], user["sub"]))

    def sub(self, name: str) -> str:
        """A person's ``sub``."""
        return str(self.user(name)["sub"])

    def set_groups(self, name: str, groups: Sequence[str]) -> None:
        """Make the person a member of exactly these groups and their ancestors."""
        self.call("PATCH", f"users/{name}", {"groups": list(groups)})

    def suspend(self, name: str) -> None:
        """Suspend the account: only a refresh and the login page show it."""
        self.call("PATCH", f"users/{name}", {"active": False})

    def restore(self, name: str) -> None:
        """Undo ``suspend`` and ``require_policy``."""
        self.call("PATCH", f"users/{name}", {"active": True, "policy_signed": True})

    def require_policy(self, name: str) -> None:
        """Let the person have to sign the usage policy again."""
        self.call("PATCH", f"users/{name}", {"policy_signed": False})

    def delete(self, name: str) -> None:
        """Delete the account."""
        self.call("DELETE", f"users/{name}")

    def add_user(self, name: str, groups: Sequence[str] = (), **more: object) -> str:
        """Make an account with the password ``demo``; returns its new ``sub``."""
        body = {"username": name, "groups": list(groups), **more}
        return str(self.call("POST", "users", body)["sub"])

    def rename(self, name: str, new: str) -> None:
        """Change the preferred_username; the ``sub`` and the password stay."""
        password = self.password(name)
        self.call("PATCH", f"users/{name}", {"username": new})
        self.passwords[new] = password

    def expire(self, name: str) -> None:
        """Let all access tokens of the person be expired."""
        self.call("POST", f"users/{name}/expire")

    def configure(self, client_id: str | None = None, **changes: object) -> None:
        """Change the client: profile, consent, rotate_refresh_tokens, access_lifetime, ..."""
        self.call("PATCH", f"clients/{client_id or self.client_id}", changes)

    def fault(self, kind: str, path: str = "*", **more: object) -> None:
        """Misbehave: ``fault("error", "/token", status=503, times=1)``, ``fault("slow",
        seconds=3)``, ``fault("late", "/token", seconds=3)``.
        """
        self.call("POST", "faults", {"kind": kind, "path": path, **more})

    def clear_faults(self) -> None:
        """Behave again."""
        self.call("DELETE", "faults")

    def rotate_keys(self, *, keep_kid: bool = False) -> None:
        """Sign with a new key; the old one is gone from ``/jwk``."""
        self.call("POST", "keys", {"keep_kid": keep_kid})

    def reset(self) -> None:
        """The demonstration's people as they were."""
        self.call("POST", "reset")

    # What a browser and a client do

    def password(self, name: str) -> str:
        """The password of a demonstration user, or of one made with ``add_user``."""
        return self.passwords.get(name, "demo")

    def sign_in(self, authorize_url: str, name: str, password: str | None = None) -> str:
        """Go through the login page as a browser would; returns the address sent back to."""
        with Browser() as browser:
            return browser.sign_in(authorize_url, name, password or self.password(name))

    def authorize_url(self, verifier: str, **changes: str | None) -> str:
        """The address of a correct login request, with some parameters changed or left out."""
        parameters: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.callbacks[0],
            "scope": SCOPE,
            "state": "s-1",
            "nonce": "n-1",
            "code_challenge": challenge_of(verifier),
            "code_challenge_method": "S256",
        }
        parameters |= changes
        return self.url("authorize?") + urlencode(
            {name: value for name, value in parameters.items() if value is not None}
        )

    def tokens(self, name: str, **changes: str | None) -> dict[str, Any]:
        """Log a person in and redeem the code; returns the token endpoint's answer."""
        verifier = secrets.token_urlsafe(48)
        back = self.sign_in(self.authorize_url(verifier, **changes), name)
        response = self.redeem(parse_qs(urlsplit(back).query)["code"][0], verifier)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def redeem(self, code: str, verifier: str, /, **changes: str) -> httpx.Response:
        """Redeem a code."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.callbacks[0],
            "code_verifier": verifier,
        }
        return self.post("token", {**form, **changes})

    def refresh(self, refresh_token: str, **more: str) -> httpx.Response:
        """Refresh."""
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token, **more}
        return self.post("token", form)

    def post(self, path: str, form: dict[str, str]) -> httpx.Response:
        """POST a form as the client."""
        auth = (self.client_id, self.client_secret)
        return self.http.post(self.url(path), data=form, auth=auth)

    def userinfo(self, access_token: str) -> httpx.Response:
        """Ask ``/userinfo``."""
        headers = {"Authorization": f"Bearer {access_token}"}
        return self.http.get(self.url("userinfo"), headers=headers)


class Browser:
    """As much of a browser as the login pages need: cookies by path, forms, redirects."""

    def __init__(self) -> None:
        self.http = httpx.Client(timeout=30, trust_env=False, verify=_NO_TLS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def get(self, url: str) -> httpx.Response:
        """Follow redirects as long as they stay on the provider."""
        return self._follow(self.http.get(url))

    def submit(self, page: httpx.Response, **fields: str) -> httpx.Response:
        """Send the (first) form of a page."""
        form = re.search(r'<form method="post" action="([^"]+)".*?</form>', page.text, re.DOTALL)
        assert form is not None, page.text
        inputs = re.findall(r'<input[^>]*name="([^"]+)" value="([^"]*)"', form.group(0))
        data = {name: html.unescape(value) for name, value in inputs} | fields
        return self._follow(self.http.post(page.url.join(form.group(1)), data=data))

    def sign_in(self, authorize_url: str, name: str, password: str) -> str:
        """Log in and allow what is asked; returns where the provider sends the browser back to."""
        page = self.get(authorize_url)
        if 'id="login"' in page.text:
            page = self.submit(page, username=name, password=password)
        if 'id="consent"' in page.text:
            page = self.submit(page, decision="allow")
        assert page.is_redirect, f"{page.status_code}: {page.text}"
        return page.headers["Location"]

    def _follow(self, response: httpx.Response) -> httpx.Response:
        while response.is_redirect:
            target = response.url.join(response.headers["Location"])
            if target.netloc != response.url.netloc:
                break
            response = self.http.get(target)
        return response


def challenge_of(verifier: str) -> str:
    """The S256 challenge of a verifier."""
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
