"""The REST API's way to ask for a session: the same choice, the same refusals, as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyterhub.apihandlers.users import SpawnProgressAPIHandler, UserServerAPIHandler
from jupyterhub.scopes import needs_scope
from tornado.web import HTTPError

from arcetri_hub.pages.base import JsonErrors, PlatformHandler
from arcetri_hub.pages.body import (
    LimitedBody,
    invalid,
    json_object,
    refuse_choice_in_address,
)
from arcetri_hub.pages.raw import may_read_details
from arcetri_hub.pages.refusals import Refused, refusal_of
from arcetri_hub.pages.servers import (
    begun_by_asker,
    cancel_start,
    forget_failed,
    is_active,
    is_choice_of,
    leave,
    stop_unattended,
    waits_for_another,
)
from arcetri_hub.pages.waits import wait_json
from arcetri_spawner.errors import ArcetriError, Busy
from arcetri_spawner.policy import parse_options, reasons
from arcetri_spawner.policy.names import shown

if TYPE_CHECKING:
    from arcetri_spawner.waiting import Entry


class ServerApi(
    JsonErrors,
    LimitedBody,
    PlatformHandler,
    UserServerAPIHandler,
):
    """``/hub/api/users/:name/server`` and ``/hub/api/users/:name/servers/:server``."""

    def initialize(self, *args: Any, **kwargs: Any) -> None:
        """Tornado's constructor."""
        super().initialize(*args, **kwargs)
        self._found: dict[str, Any] = {}

    def find_user(self, user_name: str) -> Any:
        """JupyterHub's user of a name, asked for in the database once a request; None if none."""
        if user_name not in self._found:
            self._found[user_name] = super().find_user(user_name)
        return self._found[user_name]

    def get_json_body(self) -> dict[str, Any]:
        """Read the body as a JSON object; PATCH's ``user_options`` are checked for their form.

        Raises:
            Refused: It is too long, no JSON object, or not well-formed.
        """
        try:
            body = json_object(self.receive_body())
            if body.get("user_options") is not None:
                parse_options(body["user_options"])
        except ArcetriError as error:
            raise Refused(error) from error
        return body

    def get_server_json_body(self) -> dict[str, Any]:
        """Read what a server is made or started with.

        Either ``{"display_name": ..., "user_options": {...}}`` or the options themselves.

        Raises:
            Refused: It is too long, no JSON object, or not well-formed.
        """
        body = self.get_json_body()
        try:
            if not {"display_name", "user_options"} & body.keys():
                body = {"user_options": body or None}
            if extra := body.keys() - {"display_name", "user_options"}:
                raise invalid(f"{shown(min(extra))} belongs inside user_options")
            name = body.get("display_name")
            if name is not None and not isinstance(name, str):
                raise invalid("display_name is no string")
            options = body.get("user_options")
            parse_options(options if options is not None else {})
        except ArcetriError as error:
            raise Refused(error) from error
        # Never None: JupyterHub would start, and charge, what was chosen last time.
        return {"display_name": name, "user_options": options or {}}

    def _chosen(self) -> dict[str, Any]:
        try:
            try:
                refuse_choice_in_address(self.request.query_arguments)
            except ArcetriError as error:
                raise Refused(error) from error
            options: dict[str, Any] = self.get_server_json_body()["user_options"]
        except Refused as refused:
            # The service counts what reaches it.
            self.platform.metrics.request_decided("denied", refused.error.code)
            raise
        return options

    async def _refuse_second(self, user: Any, server_name: str) -> None:
        """Refuse to start what runs, in the words of policy; one that starts is JupyterHub's."""
        spawner = user.spawners[server_name]
        if spawner.ready and await spawner.poll_and_notify() is None:
            error = reasons.denied(reasons.already_running(server_name))
            self.platform.metrics.request_decided("denied", error.code)
            raise Refused(error)

    @needs_scope("start:servers")  # type: ignore[untyped-decorator]  # JupyterHub's
    async def post(self, user_name: str, server_name: str = "") -> None:
        """Start a server, unless policy says beforehand that it would not."""
        user = self.find_user(user_name)
        if user is None:
            raise HTTPError(404, "There is no such user here.")
        options = self._chosen()
        new = server_name not in user.orm_spawners
        if is_active(user, server_name):
            await self._refuse_second(user, server_name)
            await super().post(user_name, server_name)
            return
        service = self.platform.service
        try:
            if asked := service.waiting.find(user.name, server_name):
                await self._again(asked, options)
                return
            if server_name:
                await self._check_named_server_request(user, server_name, server_name)
            asked, starts = await service.ask(user.name, server_name, options)
            if not starts:
                await self._again(asked, options)
                return
            await self._begin(asked)
        except ArcetriError as error:
            raise Refused(error) from error
        finally:
            if new:
                await forget_failed(self.db, user, server_name)

    async def _again(self, waits: Entry, options: dict[str, Any]) -> None:
        """Answer who asks for what waits already; another choice is exchanged if it starts now."""
        if is_choice_of(parse_options(options), waits.grant):
            await self._queued(waits)
            return
        try:
            asked = await self.platform.service.waiting.move(waits, options)
        except Busy as error:
            raise waits_for_another(waits.grant) from error
        await self._begin(asked)

    async def _begin(self, asked: Entry) -> None:
        """Start what was admitted at once; what is kept for the platform to start is queued."""
        service = self.platform.service
        try:
            async with begun_by_asker(service, asked):
                await super().post(*asked.server)
        except Exception:
            if service.waiting.get(asked.id) is not asked:
                raise
            await self._queued(asked)

    async def _queued(self, asked: Entry) -> None:
        """Answer that a request waits, and where to look."""
        identity = await self.platform.identities.known(asked.grant.username)
        wait = await self.platform.service.waiting.tell(asked, identity)
        self.set_status(202)
        self.set_header("Content-Type", "application/json")
        self.finish(wait_json(wait, self.platform.catalogs.current.catalog, self.hub_url))

    @needs_scope("delete:servers")  # type: ignore[untyped-decorator]  # JupyterHub's
    async def delete(self, user_name: str, server_name: str = "") -> None:
        """Stop a server; a start that is under way is undone first, and is no failure."""
        user = self.find_user(user_name)
        if user is not None:
            # JupyterHub reads it too: a body that it refuses must not have cancelled anything.
            self.get_json_body()
            if waits := self.platform.service.waiting.find(user.name, server_name):
                await leave(self.platform.service, waits, self.current_user)
                self.set_status(204)
                return
            over = await stop_unattended(self.platform.service, user, server_name)
            if over is False or (over and server_name not in user.orm_spawners):
                self.set_status(204 if over else 202)
                return
            if await cancel_start(self.platform.service, user, server_name, self.current_user):
                await self._settle(user, server_name)
        await super().delete(user_name, server_name)

    async def _settle(self, user: Any, server_name: str) -> None:
        """Have JupyterHub forget a server whose start was undone: it takes it for a ready one."""
        if user.spawners[server_name].ready:
            await self.stop_single_user(user, server_name)


class StartProgress(PlatformHandler, SpawnProgressAPIHandler):
    """``.../progress`` of a start: JupyterHub's, and a failure says its code and its remedy.

    To its user, and to the admins, also what was said of it word for word.
    """

    async def send_event(self, event: dict[str, Any]) -> None:
        """Send an event to who follows the start."""
        if event.get("failed") and (error := self._error()) is not None:
            refusal = refusal_of(error)
            event = {
                **event,
                "message": refusal.message,
                "code": refusal.code,
                "remedy": refusal.remedy,
            }
            if await may_read_details(self, self.path_args[0]):
                event["details"] = refusal.details
        await super().send_event(event)

    def _error(self) -> BaseException | None:
        name, *rest = self.path_args
        user = self.find_user(name)
        server_name = rest[0] if rest else ""
        spawner = user.spawners.get(server_name) if user is not None else None
        future = spawner._spawn_future if spawner is not None else None
        if future is None or not future.done() or future.cancelled():
            return None
        error: BaseException | None = future.exception()
        return error
