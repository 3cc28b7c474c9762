"""Routes over the file's, and webhooks."""

import base64
import secrets
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from msgspec import UNSET

from penstock.admin.bodies import (
    CreatedWebhook,
    EditRoute,
    EditWebhook,
    Gone,
    NewRoute,
    NewWebhook,
    RouteView,
    WebhookView,
)
from penstock.admin.desk import Desk, Paged, Request, missing, of_the_file, said, shown, switched
from penstock.control.webhooks import PUBLIC_PORTS
from penstock.lib.addresses import is_public
from penstock.types.errors import Conflict, InvalidRequest, NotFoundRow
from penstock.types.store import StoredRoute, Team, Webhook


class Things(Desk):
    # -- routes

    async def routes(self, request: Request) -> Paged[RouteView]:
        """Those of the file come first."""
        written = self.configuration.file_routes()
        return await self.after_the_file(request, written, _route_of_the_file, self._stored_routes)

    async def _stored_routes(self, request: Request) -> Paged[RouteView]:
        found = await self.store.page(StoredRoute, cursor=request.query.cursor, limit=request.query.limit)
        return Paged([self._shown(row) for row in found.rows], found.cursor)

    async def route(self, request: Request) -> RouteView:
        body = self.configuration.file_routes().get(request.id)
        if body is not None:
            return _route_of_the_file(request.id, body)
        return self._shown(await self.store.get(StoredRoute, request.id))

    async def new_route(self, request: Request) -> RouteView:
        body: NewRoute = request.body
        self._require_good(body.name, body.route)
        return self._shown(await self.create(request, StoredRoute(id=body.name, body=body.route)))

    async def edit_route(self, request: Request) -> RouteView:
        """Makes it where there is none: PUT says what there shall be."""
        body: EditRoute = request.body
        self._require_good(request.id, body.route)
        try:
            row = await self.store.get(StoredRoute, request.id)
        except NotFoundRow:
            if request.version is not None:
                raise missing(StoredRoute, request.id) from None
            return self._shown(await self.create(request, StoredRoute(id=request.id, body=body.route)))
        return self._shown(await self.edit(request, row, {"body": body.route}))

    async def delete_route(self, request: Request) -> Gone:
        if request.id in self.configuration.file_routes():
            raise _of_the_file(request.id)
        await self.delete(request, await self.store.get(StoredRoute, request.id))
        return Gone(request.id)

    def _require_good(self, name: str, body: dict[str, Any]) -> None:
        if name in self.configuration.file_routes():
            raise _of_the_file(name)
        found = self.configuration.check_route(name, body)
        if found:
            path, what = found[0]
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            param = f"route.{path}" if path else "route"
            end = "" if what.endswith("?") and not more else "."
            raise InvalidRequest(f"`{param}`: {what}{more}{end}", param=param)

    def _shown(self, row: StoredRoute) -> RouteView:
        path = f"routes/{row.id}"
        reasons = [one.reason for one in self.configuration.view().left_out if one.path == path]
        return RouteView(
            name=row.id,
            route=row.body,
            source="store",
            created=row.created,
            created_by=row.created_by,
            version=row.version,
            left_out=reasons[0] if reasons else None,
        )

    # -- webhooks

    async def webhooks(self, request: Request) -> Paged[WebhookView]:
        """Those of the file come first, where all were asked for."""
        team = request.query.team
        written = self.configuration.file_webhooks() if team is None else {}

        async def stored(request: Request) -> Paged[WebhookView]:
            return await self.page(request, Webhook, WebhookView, {"team": team})

        return await self.after_the_file(request, written, _webhook_of_the_file, stored)

    async def webhook(self, request: Request) -> WebhookView:
        written = self.configuration.file_webhooks().get(request.id)
        if written is not None:
            return _webhook_of_the_file(request.id, written)
        return shown(WebhookView, await self.seen(request, Webhook, request.id))

    async def new_webhook(self, request: Request) -> CreatedWebhook:
        body: NewWebhook = request.body
        _require_public(body.url)
        await self.require_place(request.caller, Team, body.team, "team")
        secret = f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}"  # as Standard Webhooks has it
        row = await self.create(request, Webhook(**said(body), secret=secret))
        return shown(CreatedWebhook, row, secret=secret)

    async def edit_webhook(self, request: Request) -> WebhookView:
        body: EditWebhook = request.body
        self._require_stored(request.id)
        if body.url is not UNSET:
            _require_public(body.url)
        row = await self.seen(request, Webhook, request.id)
        return shown(WebhookView, await self.edit(request, row, switched(row, said(body), self.now_s())))

    async def delete_webhook(self, request: Request) -> Gone:
        self._require_stored(request.id)
        await self.delete(request, await self.seen(request, Webhook, request.id))
        return Gone(request.id)

    def _require_stored(self, id_: str) -> None:
        if id_ in self.configuration.file_webhooks():
            raise Conflict(f"The webhook {id_!r} is in the configuration file: change it there.")


def _route_of_the_file(name: str, body: dict[str, Any]) -> RouteView:
    return RouteView(name=name, route=body, source="file")


def _webhook_of_the_file(name: str, written: Mapping[str, Any]) -> WebhookView:
    return WebhookView(
        **of_the_file(name),
        url=written["url"],
        events=written.get("events", []),
        team=written.get("team"),
        disabled=None,
    )


def _require_public(url: str) -> None:
    """What a name leads to is looked at with every event; this much now. Raises InvalidRequest."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "localhost").rstrip("."), parts.port
        if parts.username is not None:  # would be logged, and is never sent
            raise ValueError("credentials")
    except ValueError:
        raise InvalidRequest(
            "`url` is no address such as https://hooks.example.com/penstock, without credentials.",
            param="url",
        ) from None
    if not _may_be_public(host) or port not in {None, *PUBLIC_PORTS}:
        raise InvalidRequest(
            "`url` must be at a public address, port 80 or 443; those of your own network stand in the"
            " configuration file (`webhooks`).",
            param="url",
        )


def _may_be_public(host: str) -> bool:
    try:
        return is_public(host)
    except ValueError:
        pass
    try:
        return is_public(socket.inet_ntoa(socket.inet_aton(host)))  # `127.1`, as resolvers read it
    except OSError:  # a name
        return host.rpartition(".")[2] != "localhost"


def _of_the_file(name: str) -> Conflict:
    return Conflict(f"The route {name!r} is in the configuration file, and the file wins: change it there.")
