"""An IAM and a hub over it, for a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.hub.auth.hub_process import (
    HubBrowser,
    TestHub,
    callback,
    free_port,
    running,
)
from tests.support.iam import DevIam


@dataclass
class Site:
    iam: DevIam
    hub: TestHub

    def browser(self) -> HubBrowser:
        return HubBrowser(self.hub, self.iam)

    def login(self, name: str) -> None:
        """Log somebody in who may log in, with a browser that is then closed."""
        with self.browser() as browser:
            answer = browser.login(name)
            assert answer.is_redirect, answer.text


@contextmanager
def new_site(folder: Path, *iam_options: str, **traits: object) -> Iterator[Site]:
    """An IAM and a hub of one's own, for tests that stop or break them."""
    port = free_port()
    callbacks = [callback(f"http://127.0.0.1:{port}")]
    with (
        DevIam.started(folder, callbacks, iam_options) as iam,
        running(folder / "hub", iam, port, **traits) as hub,
    ):
        yield Site(iam, hub)
