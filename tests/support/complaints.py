"""What a browser complains of while pages are tried."""

from __future__ import annotations

from playwright.sync_api import ConsoleMessage, Page

_BAD = ("Content Security Policy", "Refused to")


class Complaints(list[str]):
    """Errors of pages' scripts, and what their own content security policy forbids them."""

    def watch(self, page: Page) -> None:
        """Listen to a page from now on."""
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.append(f"error: {error}"))

    def _hear(self, message: ConsoleMessage) -> None:
        # What a test itself has the page do has no address: axe tries styles that are not allowed.
        if message.location["url"] and any(word in message.text for word in _BAD):
            self.append(message.text)
