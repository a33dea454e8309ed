"""The Content-Security-Policy of every page the hub serves.

JupyterHub's base template carries inline scripts that hold per-session data, so their hashes are
not known beforehand and each response needs a nonce of its own. Two small parts give it one:

* ``NonceExtension`` rewrites the *source* of every template as it is loaded, so that each
  ``<script`` tag a template's author wrote carries a placeholder. What users supply is filled in
  later, and can never gain it.
* ``ContentSecurity`` replaces the placeholder in each HTML response with a fresh nonce and names
  that nonce in the header. It works on what leaves the server, whichever handler made it, so that
  no page (error pages included) can be without.

The placeholder is random, made once a process, and never leaves it.
"""

from __future__ import annotations

import re
import secrets

from jinja2.ext import Extension
from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.web import OutputTransform

_BYTES = 18
PLACEHOLDER = secrets.token_urlsafe(_BYTES)
_SCRIPT_TAG = re.compile(r"<script(?=[\s>])")


class NonceExtension(Extension):
    """Gives each script tag of a template's source the placeholder of a nonce."""

    def preprocess(
        self,
        source: str,
        name: str | None,  # noqa: ARG002 - Jinja's signature
        filename: str | None = None,  # noqa: ARG002 - Jinja's signature
    ) -> str:
        """Return ``source`` with the placeholder in each of its script tags."""
        return _SCRIPT_TAG.sub(f'<script nonce="{PLACEHOLDER}"', source)


def policy(nonce: str, *, style_elements: bool = False) -> str:
    """The header's value for one response.

    Args:
        nonce: What the page's script tags carry.
        style_elements: True for JupyterHub's admin page, whose framework makes them in the browser.

    ``strict-dynamic`` lets RequireJS, itself loaded with the nonce, load JupyterHub's modules, and
    makes an injected ``<script src="/user/...">`` as powerless as an inline one. Attribute styles
    stay allowed because JupyterHub's templates hide elements with them; style elements do not.
    """
    styles = "'self' 'unsafe-inline'" if style_elements else "'self'"
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'nonce-{nonce}' 'strict-dynamic'",
            f"style-src {styles}",
            "style-src-attr 'unsafe-inline'",
            "img-src 'self' data:",
            "font-src 'self'",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )


class ContentSecurity(OutputTransform):
    """Puts the policy on HTML responses, and the nonce into their script tags.

    Nonce and placeholder have the same length, so that Content-Length stays right.
    """

    def __init__(self, request: HTTPServerRequest) -> None:
        super().__init__(request)
        self._nonce = secrets.token_urlsafe(_BYTES)
        self._html = False
        self._style_elements = request.path.endswith("/hub/admin")

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        """Set the headers of an HTML page and fill in its nonce."""
        headers["X-Content-Type-Options"] = "nosniff"
        # A login's pages ask for a stricter one.
        headers.setdefault("Referrer-Policy", "same-origin")
        self._html = headers.get("Content-Type", "").startswith("text/html")
        if self._html:
            headers["Content-Security-Policy"] = policy(
                self._nonce, style_elements=self._style_elements
            )
            # A page revalidated from a cache would carry an old nonce under a new header.
            headers["Cache-Control"] = "no-store"
            if "Etag" in headers:
                del headers["Etag"]
        return status_code, headers, self.transform_chunk(chunk, finishing)

    def transform_chunk(self, chunk: bytes, finishing: bool) -> bytes:  # noqa: ARG002 - Tornado's
        """Fill in the nonce."""
        if not self._html:
            return chunk
        return chunk.replace(PLACEHOLDER.encode(), self._nonce.encode())
