"""The pages a person sees on the way through: login, usage policy, consent, logout."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

from authlib.oauth2.base import OAuth2Error
from authlib.oidc.core.errors import LoginRequiredError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from arcetri_hub.devidp.adapters import ProviderRequest
from arcetri_hub.devidp.models import Client, User
from arcetri_hub.devidp.site import Pairs, Site, read_form, read_query

_FOREIGN_FORM = "Go back, reload the page and try again: this form was not made by this site."


def routes(site: Site) -> list[Route]:
    """The routes of this module."""
    return [
        Route("/authorize", _Authorize(site).get, methods=["GET"]),
        Route("/authorize", _Authorize(site).post, methods=["POST"]),
        Route("/login", _Login(site).get, methods=["GET"]),
        Route("/login", _Login(site).post, methods=["POST"]),
        Route("/logout", _Logout(site).get, methods=["GET"]),
        Route("/logout", _Logout(site).post, methods=["POST"]),
    ]


class _Authorize:
    """``/authorize``: from a client's request to a code, past the pages that stand before it."""

    def __init__(self, site: Site) -> None:
        self.site = site

    async def get(self, request: Request) -> Response:
        """Show what stands before the code, or send the browser back with it."""
        return self._answer(read_query(request), self.site.user_of(request), decision=None)

    async def post(self, request: Request) -> Response:
        """Take a signature under the usage policy, or a decision about consent."""
        pairs = await read_form(request)
        if not self.site.from_own_page(request, pairs):
            return self.site.problem(403, "Not sent", _FOREIGN_FORM)
        fields = dict(pairs)
        user = self.site.user_of(request)
        query = fields.get("next", "")
        if user is not None and fields.get("decision") == "sign":
            user.policy_signed = True
            self.site.provider.save()
            return RedirectResponse(f"/authorize?{query}", 303)
        pairs = parse_qsl(query, keep_blank_values=True)
        return self._answer(pairs, user, decision=fields.get("decision"))

    def _answer(self, pairs: Pairs, user: User | None, *, decision: str | None) -> Response:
        site, oauth = self.site, self.site.oauth
        query = urlencode(pairs)
        request = ProviderRequest("GET", site.provider.issuer + "authorize", {}, pairs)
        prompt = set((request.args.get("prompt") or "").split())
        try:
            # prompts are answered here, IAM's way, not by Authlib
            request.payload.datalist.pop("prompt", None)
            grant = oauth.get_consent_grant(request, end_user=user)
            if "none" in prompt:
                error = LoginRequiredError(redirect_uri=grant.redirect_uri)
                error.state = request.payload.state
                raise error
        except OAuth2Error as error:
            return self._refused(request, error)
        except ValueError:
            # Authlib cannot put every character a client sends into an error of its own
            return site.problem(400, "Bad request", "The application sent a malformed request.")
        if user is None or prompt & {"login", "select_account"}:
            again = [(name, value) for name, value in pairs if name != "prompt"]
            return RedirectResponse("/login?" + urlencode({"next": urlencode(again)}), 302)
        if not request.scope:
            return site.problem(400, "Bad request", "The application asked for no scope at all.")
        if not user.policy_signed:
            return site.page("policy.html", user=user, next=query)
        client: Client = request.client.record
        if client.consent and decision is None and not self._approved(user, client, request.scope):
            return site.page(
                "consent.html", user=user, client=client, scopes=request.scope.split(), next=query
            )
        if decision == "remember":
            self._approve(user, client, request.scope)
        response: Response = oauth.create_authorization_response(
            request, grant_user=None if decision == "deny" else user, grant=grant
        )
        return response

    def _refused(self, request: ProviderRequest, error: OAuth2Error) -> Response:
        if error.redirect_uri:
            response: Response = self.site.oauth.handle_error_response(request, error)
            return response
        if error.error == "invalid_client":
            sentence = "The application that sent you here is not registered."
            return self.site.problem(401, "Unknown application", sentence)
        sentence = "The application that sent you here named an address that is not registered."
        return self.site.problem(400, "Bad request", sentence)

    def _approved(self, user: User, client: Client, scope: str) -> bool:
        remembered = self.site.provider.state.approvals.get(user.sub, {}).get(client.client_id, [])
        return set(scope.split()) <= set(remembered)

    def _approve(self, user: User, client: Client, scope: str) -> None:
        approvals = self.site.provider.state.approvals.setdefault(user.sub, {})
        approvals[client.client_id] = sorted({*approvals.get(client.client_id, []), *scope.split()})
        self.site.provider.save()


class _Logout:
    """``/logout``, for a person, or for a client by OpenID Connect RP-Initiated Logout."""

    def __init__(self, site: Site) -> None:
        self.site = site

    async def get(self, request: Request) -> Response:
        """Forget who this browser is, and send it back to the client that asked."""
        return self._end(request, read_query(request))

    async def post(self, request: Request) -> Response:
        """The same, from a form."""
        return self._end(request, await read_form(request))

    def _end(self, request: Request, pairs: Pairs) -> Response:
        fields = dict(pairs) if self.site.end_session else {}
        back = fields.get("post_logout_redirect_uri", "")
        client_id = fields.get("client_id", "")
        if hint := fields.get("id_token_hint", ""):
            claims = self.site.provider.own_id_token(hint)
            if claims is None or client_id not in ("", claims.get("aud")):
                return self.site.problem(
                    400, "Bad request", "The application showed a token that is not its own."
                )
            client_id = str(claims["aud"])
        client = self.site.provider.client(client_id)
        if back and (client is None or back not in client.post_logout_redirect_uris):
            return self.site.problem(
                400, "Bad request", "The application named an address that is not registered."
            )
        response: Response
        if back:
            state = fields.get("state", "")
            query = f"?{urlencode({'state': state})}" if state else ""
            response = RedirectResponse(back + query, 302)
        else:
            sentence = "You are signed out of the development IAM."
            response = self.site.problem(200, "Signed out", sentence)
        self.site.log_out(request, response)
        return response


class _Login:
    """``/login``."""

    def __init__(self, site: Site) -> None:
        self.site = site

    async def get(self, request: Request) -> Response:
        """Ask for name and password."""
        return self._form(request.query_params.get("next", ""))

    async def post(self, request: Request) -> Response:
        """Check them."""
        pairs = await read_form(request)
        if not self.site.from_own_page(request, pairs):
            return self.site.problem(403, "Not sent", _FOREIGN_FORM)
        fields = dict(pairs)
        query, username = fields.get("next", ""), fields.get("username", "").strip()
        user = self.site.provider.check_password(username, fields.get("password", ""))
        if user is None:
            sentence = "The user name or the password is wrong."
            return self._form(query, status=401, username=username, sentence=sentence)
        if not user.active:
            sentence = "Your account is suspended and not active; an administrator can restore it."
            return self._form(query, status=401, username=username, sentence=sentence)
        response = RedirectResponse(f"/authorize?{query}" if query else "/", 303)
        self.site.log_in(response, user)
        return response

    def _form(
        self, query: str, *, status: int = 200, username: str = "", sentence: str = ""
    ) -> Response:
        users = self.site.provider.state.users
        client_id = dict(parse_qsl(query)).get("client_id", "")
        client = self.site.provider.client(client_id)
        return self.site.page(
            "login.html",
            status,
            next=query,
            username=username,
            sentence=sentence,
            goal="" if client is None else client.name,
            people=[user for user in users if user.can],
        )
