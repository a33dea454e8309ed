"""What a browser is shown when nothing answers behind the proxy."""

from __future__ import annotations

from typing import Final

AWAY: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="refresh" content="3">
<title>Back in a moment</title>
<style>
body { font: 1.05rem/1.6 system-ui, sans-serif; max-width: 34rem; margin: 18vh auto;
  padding: 0 1.2rem }
h1 { font-size: 1.5rem; font-weight: 600 }
</style>
</head>
<body>
<main>
<h1>The platform is being restarted</h1>
<p>Notebooks that run go on running, and nothing is lost. This page tries again by itself every few
seconds; there is nothing you need to do.</p>
</main>
</body>
</html>
"""
"""Tries again by itself; says what a user may fear for: their work."""

HEADERS: Final = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Retry-After": "3",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
}
