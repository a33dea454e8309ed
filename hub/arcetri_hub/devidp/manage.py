"""The management page: who is in which group, and what is to go wrong.

Nobody logs in to it. Its forms carry a token that only this site's own pages can read, so that
another web page cannot send them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import urlencode

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from arcetri_hub.devidp import directory
from arcetri_hub.devidp.badinput import sentences
from arcetri_hub.devidp.directory import DirectoryError
from arcetri_hub.devidp.faults import EVERYWHERE, FAULT_KINDS, WIRE_PATHS, Fault
from arcetri_hub.devidp.models import PROFILES, Profile, User
from arcetri_hub.devidp.site import Pairs, Site, read_form

DONE: Final[Mapping[str, str]] = {
    "groups": "Memberships saved. The hub sees them at its next refresh, at the latest when a "
    "session starts.",
    "suspend": "Suspended. Only a refresh, or a new login, shows it.",
    "enable": "Active again, with the same tokens.",
    "ask": "The usage policy must be signed again: refreshes are refused until then.",
    "sign": "The usage policy is signed.",
    "rename": "Renamed. The sub stays the same.",
    "delete": "Deleted, with everything that was issued.",
    "person": "Added. The password is: demo.",
    "group": "Group made.",
    "client": "Client saved. Its next tokens come in the new form.",
    "fault": "From now on, that goes wrong.",
    "behave": "Everything works again.",
    "keys": "New tokens are signed with a new key; the old one is gone from /jwk.",
    "reset": "The demonstration's people are as they were.",
}
"""What the page says after each change, by the word in its address."""

_PROFILE_NOTES: Final[Mapping[Profile, str]] = {
    "iam": "groups: arcetri/cms",
    "wlcg": "wlcg.groups: /arcetri/cms",
    "aarc": "entitlements: urn:geant:…:group:arcetri:cms",
    "kc": "roles: arcetri/cms",
}
_KIND_NOTES: Final = {
    "slow": "wait, then answer",
    "late": "do it, then wait",
    "error": "answer with an error",
}


def routes(site: Site) -> list[Route]:
    """The routes of this module."""
    page = _Manage(site)
    return [
        Route("/", page.show, methods=["GET"]),
        Route("/manage/people/{sub}", page.post(page.person), methods=["POST"]),
        Route("/manage/directory", page.post(page.directory), methods=["POST"]),
        Route("/manage/clients/{client_id}", page.post(page.client), methods=["POST"]),
        Route("/manage/faults", page.post(page.fault), methods=["POST"]),
        Route("/manage/keys", page.post(page.keys), methods=["POST"]),
    ]


class _Manage:
    def __init__(self, site: Site) -> None:
        self.site = site
        self.provider = site.provider

    async def show(self, request: Request) -> Response:
        return self._page(done=DONE.get(request.query_params.get("done", ""), ""))

    def post(
        self, action: Callable[[Request, Pairs], str]
    ) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that does something and shows the page again."""

        async def endpoint(request: Request) -> Response:
            pairs = await read_form(request)
            if not self.site.from_own_page(request, pairs):
                return self._page(403, problem="Not done: reload this page and try again.")
            try:
                target = action(request, pairs)
            except DirectoryError as error:
                return self._page(409, problem=str(error))
            except ValidationError as error:
                return self._page(422, problem=sentences(error))
            self.provider.save()
            return RedirectResponse(f"/?{target}", 303)

        return endpoint

    def person(self, request: Request, pairs: Pairs) -> str:
        """Change one person; the pressed button says how."""
        user = directory.find_user(self.provider.state, request.path_params["sub"])
        fields, now = dict(pairs), self.provider.now
        action = fields.get("action", "")
        match action:
            case "groups":
                wanted = [value for name, value in pairs if name == "group"]
                directory.change_groups(self.provider.state, user, wanted, now)
            case "suspend" | "enable":
                user.active = action == "enable"
            case "ask" | "sign":
                user.policy_signed = action == "sign"
            case "rename":
                directory.rename_user(self.provider.state, user, fields.get("username", ""), now)
            case "delete":
                self.provider.delete_user(user)
                return _done("delete", "people")
            case _:
                raise DirectoryError("There is no such button.")
        return _done(action, f"p-{user.sub}")

    def directory(self, request: Request, pairs: Pairs) -> str:
        """Make a person or a group, or put the demonstration back."""
        del request
        fields, state = dict(pairs), self.provider.state
        match fields.get("action"):
            case "group":
                directory.add_group(state, fields.get("path", ""))
                return _done("group", "people")
            case "reset":
                directory.restore_demo(state, self.provider.now)
                return _done("reset", "people")
            case "person":
                user = directory.add_user(
                    state,
                    fields.get("username", ""),
                    "demo",
                    self.provider.now,
                    display_name=fields.get("display_name", "").strip(),
                    can="Added on the management page.",
                )
                return _done("person", f"p-{user.sub}")
            case _:
                raise DirectoryError("There is no such button.")

    def client(self, request: Request, pairs: Pairs) -> str:
        """Change what a client is registered for."""
        client = self.provider.client(request.path_params["client_id"])
        if client is None:
            raise DirectoryError("There is no such client.")
        fields = dict(pairs)
        for profile in PROFILES:
            if fields.get("profile") == profile:
                client.set_profile(profile)
        client.rotate_refresh_tokens = "rotate" in fields
        client.consent = "consent" in fields
        return _done("client", "clients")

    def fault(self, request: Request, pairs: Pairs) -> str:
        """Let something go wrong, or nothing any more."""
        del request
        fields = dict(pairs)
        if fields.get("action") == "behave":
            self.site.faults.active.clear()
            return _done("behave", "faults")
        names = ("kind", "path", "status", "seconds", "times")
        self.site.faults.active.append(
            Fault.model_validate({name: fields[name] for name in names if fields.get(name)})
        )
        return _done("fault", "faults")

    def keys(self, request: Request, pairs: Pairs) -> str:
        """Sign with a new key."""
        del request
        self.provider.rotate_key(keep_kid=dict(pairs).get("action") == "keep")
        return _done("keys", "keys")

    def _page(self, status: int = 200, *, done: str = "", problem: str = "") -> Response:
        state = self.provider.state
        return self.site.page(
            "manage.html",
            status,
            done=done,
            problem=problem,
            issuer=self.provider.issuer,
            people=sorted(state.users, key=_by_name),
            groups=state.groups,
            clients=state.clients,
            profiles=_PROFILE_NOTES,
            kinds={kind: _KIND_NOTES[kind] for kind in FAULT_KINDS},
            paths=[EVERYWHERE, *WIRE_PATHS],
            faults=self.site.faults.active,
            kid=state.key.kid,
        )


def _by_name(user: User) -> tuple[str, str]:
    return user.username.casefold(), user.sub


def _done(word: str, anchor: str) -> str:
    return f"{urlencode({'done': word})}#{anchor}"
