from __future__ import annotations

import re

from jinja2 import Environment
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from arcetri_hub.pages.csp import PLACEHOLDER, ContentSecurity, NonceExtension, policy


def rendered(source: str, **values: object) -> str:
    environment = Environment(autoescape=True, extensions=[NonceExtension])
    return environment.from_string(source).render(**values)


def served(html: str, path: str = "/hub/home", kind: str = "text/html") -> tuple[HTTPHeaders, str]:
    headers = HTTPHeaders({"Content-Type": kind, "Etag": "old"})
    line = RequestStartLine("GET", path, "HTTP/1.1")
    transform = ContentSecurity(
        HTTPServerRequest(start_line=line, headers=HTTPHeaders({"Host": "hub"}))
    )
    _, headers, body = transform.transform_first_chunk(200, headers, html.encode(), True)
    return headers, body.decode()


def nonce_of(headers: HTTPHeaders) -> str:
    found = re.search(r"'nonce-([^']+)'", headers["Content-Security-Policy"])
    assert found
    return found[1]


def test_scripts_of_a_template_carry_the_responses_nonce() -> None:
    source = '<script src="a.js"></script><script>\nvar a;</script><SCRIPT>'
    headers, html = served(rendered(source))
    nonce = nonce_of(headers)
    assert html.count(f'<script nonce="{nonce}"') == 2
    assert PLACEHOLDER not in html


def test_each_response_has_another_nonce_of_the_same_length() -> None:
    html = rendered("<script></script>")
    first, second = served(html), served(html)
    assert nonce_of(first[0]) != nonce_of(second[0])
    assert len(first[1]) == len(html)


def test_a_script_that_a_user_supplied_gains_no_nonce_even_unescaped() -> None:
    html = rendered("{{ name | safe }}", name="<script>alert(1)</script>")
    headers, html = served(html)
    assert nonce_of(headers) not in html


def test_a_page_is_never_revalidated_with_an_old_nonce() -> None:
    headers, _ = served(rendered("<p>"))
    assert headers["Cache-Control"] == "no-store"
    assert "Etag" not in headers


def test_answers_that_are_no_pages_keep_their_own_policy() -> None:
    headers, body = served(PLACEHOLDER, kind="application/json")
    assert "Content-Security-Policy" not in headers
    assert body == PLACEHOLDER
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_nothing_may_run_or_be_reached_but_what_is_named() -> None:
    rules = dict(rule.split(" ", 1) for rule in policy("n").split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'nonce-n' 'strict-dynamic'"
    assert rules["connect-src"] == rules["form-action"] == rules["style-src"] == "'self'"
    assert rules["frame-ancestors"] == rules["base-uri"] == "'none'"


def test_only_jupyterhubs_admin_page_may_make_style_elements() -> None:
    lenient = "style-src 'self' 'unsafe-inline'"
    assert lenient in served("", "/hub/admin")[0]["Content-Security-Policy"]
    assert lenient not in served("", "/hub/user/x/hub/administration")[0]["Content-Security-Policy"]
