"""Virtual keys: made, shown, changed, rotated, revoked. A secret is shown once, by who makes it.

    active    -- rotate -->    has a new secret; the one before works beside it until `overlap_ends`
    any       -- revoke -->    off, within a second; answers that are under way with it are ended

Keys are never deleted: usage and changes name them.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.admin import rights
from penstock.admin.bodies import CreatedKey, EditKey, KeyQuery, KeyView, NewKey, RotateKey
from penstock.admin.desk import (
    SHOWN_CHARS,
    Desk,
    Paged,
    Request,
    bounds_of_the_file,
    missing,
    new_secret,
    of_the_file,
    require_version,
    said,
    shown,
)
from penstock.admin.reading import networks_of
from penstock.types.errors import Conflict, InvalidRequest, NotFoundRow, PermissionDenied
from penstock.types.identity import VirtualKey
from penstock.types.store import Key, Membership, ServiceAccount, Team, User


class Keys(Desk):
    async def keys(self, request: Request) -> Paged[KeyView]:
        """Those of the file come first; they are nobody's but a team's."""
        query: KeyQuery = request.query
        asked = {"team": query.team, "user": query.user, "account": query.account}
        own = rights.scope(request.caller)
        is_theirs = own not in {None, query.team or own}
        written = (
            {}
            if is_theirs or query.user or query.account
            else self.configuration.file_keys(query.team or own)
        )

        async def stored(request: Request) -> Paged[KeyView]:
            return await self.page(request, Key, KeyView, asked)

        return await self.after_the_file(request, written, _of_the_file, stored)

    async def key(self, request: Request) -> KeyView:
        written = self.configuration.file_keys(rights.scope(request.caller))
        if request.id in written:
            return _of_the_file(request.id, written[request.id])
        return shown(KeyView, await self.seen(request, Key, request.id))

    async def new_key(self, request: Request) -> CreatedKey:
        body: NewKey = request.body
        caller = request.caller
        fields = {**rights.inherited(caller), **await self.bounded(caller, said(body))}
        await self.require_models(caller, fields["routes"] or (), "routes")
        team = fields["team"] = self.own_team(caller, fields.get("team"))
        await self.require_place(caller, Team, team, "team")
        await self.require_place(caller, User, body.user, "user")
        await self._require_member(body.user, team)
        await self._require_account(body.account, team)
        secret = new_secret()
        row = self._made(fields, secret)
        self._require_future(row)
        rights.require_grantable(caller, row)
        self._require_unlimited_user(caller, body.user)
        return shown(CreatedKey, await self.create(request, row), secret=secret)

    async def edit_key(self, request: Request) -> KeyView:
        body: EditKey = request.body
        row = await self._own(request)
        fields = await self.bounded(request.caller, said(body))
        await self.require_models(request.caller, fields.get("routes") or (), "routes")
        if "networks" in fields:
            fields["networks"] = networks_of(fields["networks"])
        new = msgspec.structs.replace(row, **fields)
        rights.require_grantable(request.caller, new)
        return shown(KeyView, await self.edit(request, row, fields))

    async def rotate(self, request: Request) -> CreatedKey:
        body: RotateKey = request.body
        row = await self._own(request)
        require_version(request, row)
        rights.require_rotatable(request.caller, row)
        self._require_unlimited_user(request.caller, row.user)
        now_s = self.now_s()
        if row.revoked is not None or (row.expires is not None and row.expires <= now_s):
            raise Conflict(f"The key {row.id!r} is off: make a new one.")
        secret = new_secret()
        fields = {
            "hash": self.configuration.hash_of(secret.encode()),
            "prefix": secret[:SHOWN_CHARS],
            "old_hash": row.hash if body.overlap_s else None,
            "overlap_ends": now_s + body.overlap_s if body.overlap_s else None,
        }
        return shown(CreatedKey, await self.edit(request, row, fields), secret=secret)

    async def revoke(self, request: Request) -> KeyView:
        row = await self._own(request)
        if row.revoked is not None:
            return shown(KeyView, row)
        return shown(KeyView, await self.edit(request, row, {"revoked": self.now_s()}))

    # -- inside

    async def _own(self, request: Request) -> Key:
        """A key of the store that the caller may change."""
        if request.id in self.configuration.file_keys(rights.scope(request.caller)):
            raise Conflict(f"The key {request.id!r} is in the configuration file: change it there.")
        row = await self.seen(request, Key, request.id)
        if row.id != request.caller.name:
            rights.require_rank(request.caller.role, row.role, "The key")
        return row

    async def _require_member(self, user: str | None, team: str | None) -> None:
        """A user's key of a team is good while they are in it."""
        if user is None or team is None:
            return
        if await self.store.find(Membership, team=team, user=user) is None:
            raise InvalidRequest(
                f"The user {user!r} is not in the team {team!r}: put them in first.", param="user"
            )

    def _require_unlimited_user(self, caller: VirtualKey, user: str | None) -> None:
        """What a user may use holds in all their teams: one of these must not use it up for the others."""
        if user is None or user == caller.user or caller.role in rights.ADMINS:
            return
        if self.configuration.claims("user", user):
            raise PermissionDenied(
                "The user has limits: a key that counts for them is theirs, or an admin's, to make.",
                param="user",
            )

    async def _require_account(self, account: str | None, team: str | None) -> None:
        """An account is of the same team as its keys, so that nobody counts on another team's."""
        if account is None:
            return
        try:
            row = await self.store.get(ServiceAccount, account)
        except NotFoundRow:
            raise missing(ServiceAccount, account, "account") from None
        if row.team != team:
            raise missing(ServiceAccount, account, "account")

    def _require_future(self, row: Key) -> None:
        if row.expires is not None and row.expires <= self.now_s():
            raise InvalidRequest("`expires` is in the past.", param="expires")

    def _made(self, fields: dict[str, Any], secret: str) -> Key:
        return Key(
            **{
                **fields,
                "networks": networks_of(fields["networks"]),
                "hash": self.configuration.hash_of(secret.encode()),
                "prefix": secret[:SHOWN_CHARS],
            }
        )


def _of_the_file(name: str, written: Mapping[str, Any]) -> KeyView:
    return KeyView(
        **of_the_file(name),
        **bounds_of_the_file(written),
        name=name,
        prefix="",
        team=written.get("team"),
        role=written.get("role", "developer"),
        priority=written.get("priority", "default"),
        routes=written.get("routes"),
        networks=written.get("ips", []),
        expires=_stamp(written.get("expires")),
        overlap_ends=_stamp(written.get("previous", {}).get("until")),
    )


def _stamp(moment: float | None) -> int | None:
    return None if moment is None else int(moment)
