"""What a person without JavaScript does with the pages, and what they may leave behind."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

import httpx

from tests.support.platform import Platform


def action(page: httpx.Response, part: str = "/hub/spawn") -> str:
    """Where the form that leads to ``part`` is sent."""
    found = re.search(rf'action="([^"]*{re.escape(part)}[^"]*)"', page.text)
    assert found, page.text
    return html.unescape(found[1])


def ask(
    client: httpx.Client, fields: Mapping[str, Any], path: str = "/hub/spawn"
) -> httpx.Response:
    """Open the spawn page and send its form, as it is, with these fields."""
    return client.post(action(client.get(path)), data=dict(fields))


def refusals(page: httpx.Response) -> list[str]:
    """Codes of the errors that a page shows, wherever on it."""
    return re.findall(r'role="alert"[^>]*data-code="(\w+)"', page.text)


def beside(page: httpx.Response) -> list[str]:
    """The fields that have an error beside them."""
    return re.findall(r'class="field-error" id="(\w+)-error"', page.text)


def checked(page: httpx.Response, name: str) -> list[str]:
    """The values of a field that the page preselects."""
    inputs = re.findall(r"<input\b[^>]*>", page.text)
    return [
        html.unescape(value[1])
        for text in inputs
        if f'name="{name}"' in text
        and re.search(r"\bchecked\b", text)
        and (value := re.search(r'value="([^"]*)"', text))
    ]


def untouched(platform: Platform) -> None:
    """Assert that nothing was started and nothing half-made remains."""
    assert platform.sessions() == {}
    assert platform.leases() == []
    assert platform.rows("select id from arcetri_request where state != 'ended'") == []
    assert platform.rows("select name from spawners where name != ''") == []
    assert platform.rows("select id from spawners where server_id is not null") == []
