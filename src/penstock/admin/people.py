"""Teams, users, who is in which team, and service accounts."""

from collections.abc import Callable, Mapping
from typing import Any

from penstock.admin import rights
from penstock.admin.bodies import (
    AccountView,
    EditAccount,
    EditMembership,
    EditTeam,
    EditUser,
    Gone,
    MembershipView,
    NewAccount,
    NewMembership,
    NewTeam,
    NewUser,
    TeamView,
    UserView,
)
from penstock.admin.desk import Desk, Paged, Request, bounds_of_the_file, of_the_file, said, shown, switched
from penstock.config.units import format_money, format_percent, parse_money, parse_percent
from penstock.types.errors import Conflict, InvalidRequest, NotFoundRow
from penstock.types.store import Membership, ServiceAccount, Team, User


class People(Desk):
    # -- teams

    async def teams(self, request: Request) -> Paged[TeamView]:
        """Those of the file come first."""
        own = rights.scope(request.caller)
        if own is not None:
            try:
                return Paged([await self._team(request, own)])
            except NotFoundRow:  # an issuer of tokens knows it, and nobody here
                return Paged([])
        written = self.configuration.file_teams()

        async def stored(request: Request) -> Paged[TeamView]:
            found = await self.page(request, Team, TeamView)
            return Paged([row for row in found.data if row.id not in written], found.cursor)

        return await self.after_the_file(request, written, team_of_the_file, stored)

    async def team(self, request: Request) -> TeamView:
        return await self._team(request, request.id)

    async def _team(self, request: Request, id_: str) -> TeamView:
        written = self.configuration.file_teams().get(id_)
        if written is not None and rights.scope(request.caller) in {None, id_}:
            return team_of_the_file(id_, written)
        return shown(TeamView, await self.seen(request, Team, id_))

    async def new_team(self, request: Request) -> TeamView:
        body: NewTeam = request.body
        fields = _with_terms(await self.bounded(request.caller, said(body)))
        taken = {body.name, fields.get("id")} & self.configuration.file_teams().keys()
        if taken:
            raise Conflict(f"There is a team {taken.pop()!r} in the configuration file, and the file wins.")
        return shown(TeamView, await self.create(request, Team(**fields)))

    async def edit_team(self, request: Request) -> TeamView:
        body: EditTeam = request.body
        self._require_stored(request.id)
        row = await self.seen(request, Team, request.id)
        return shown(
            TeamView,
            await self.edit(request, row, _with_terms(await self.bounded(request.caller, said(body)))),
        )

    def _require_stored(self, id_: str) -> None:
        if id_ in self.configuration.file_teams():
            raise Conflict(f"The team {id_!r} is in the configuration file: change it there.")

    async def delete_team(self, request: Request) -> Gone:
        self._require_stored(request.id)
        await self.delete(request, await self.seen(request, Team, request.id))
        return Gone(request.id)

    # -- users

    async def users(self, request: Request) -> Paged[UserView]:
        return await self.page(request, User, UserView)

    async def user(self, request: Request) -> UserView:
        return shown(UserView, await self.seen(request, User, request.id))

    async def new_user(self, request: Request) -> UserView:
        body: NewUser = request.body
        rights.require_rank(request.caller.role, body.role, "The user")
        return shown(
            UserView, await self.create(request, User(**await self.bounded(request.caller, said(body))))
        )

    async def edit_user(self, request: Request) -> UserView:
        body: EditUser = request.body
        row = await self.seen(request, User, request.id)
        fields = switched(row, await self.bounded(request.caller, said(body)), self.now_s())
        rights.require_rank(request.caller.role, row.role, "The user")
        rights.require_rank(request.caller.role, fields.get("role", row.role), "The user")
        return shown(UserView, await self.edit(request, row, fields))

    async def delete_user(self, request: Request) -> Gone:
        row = await self.seen(request, User, request.id)
        rights.require_rank(request.caller.role, row.role, "The user")
        await self.delete(request, row)
        return Gone(request.id)

    # -- memberships

    async def memberships(self, request: Request) -> Paged[MembershipView]:
        asked = {"team": request.query.team, "user": request.query.user}
        return await self.page(request, Membership, MembershipView, asked)

    async def membership(self, request: Request) -> MembershipView:
        return shown(MembershipView, await self.seen(request, Membership, request.id))

    async def new_membership(self, request: Request) -> MembershipView:
        body: NewMembership = request.body
        rights.require_rank(request.caller.role, body.role, "The membership")
        await self.require_place(request.caller, Team, body.team, "team")
        await self.require_place(request.caller, User, body.user, "user")
        return shown(MembershipView, await self.create(request, Membership(**said(body))))

    async def edit_membership(self, request: Request) -> MembershipView:
        body: EditMembership = request.body
        row = await self.seen(request, Membership, request.id)
        rights.require_rank(request.caller.over_team, row.role, "The membership")
        rights.require_rank(request.caller.over_team, body.role, "The membership")
        return shown(MembershipView, await self.edit(request, row, said(body)))

    async def delete_membership(self, request: Request) -> Gone:
        row = await self.seen(request, Membership, request.id)
        rights.require_rank(request.caller.over_team, row.role, "The membership")
        await self.delete(request, row)
        return Gone(request.id)

    # -- service accounts

    async def accounts(self, request: Request) -> Paged[AccountView]:
        return await self.page(request, ServiceAccount, AccountView, {"team": request.query.team})

    async def account(self, request: Request) -> AccountView:
        return shown(AccountView, await self.seen(request, ServiceAccount, request.id))

    async def new_account(self, request: Request) -> AccountView:
        body: NewAccount = request.body
        caller = request.caller
        rights.require_rank(caller.role, body.role, "The service account")
        team = self.own_team(caller, body.team)
        await self.require_place(caller, Team, team, "team")
        row = ServiceAccount(name=body.name, team=team, role=body.role)
        return shown(AccountView, await self.create(request, row))

    async def edit_account(self, request: Request) -> AccountView:
        body: EditAccount = request.body
        row = await self.seen(request, ServiceAccount, request.id)
        fields = switched(row, said(body), self.now_s())
        rights.require_rank(request.caller.role, row.role, "The service account")
        rights.require_rank(request.caller.role, fields.get("role", row.role), "The service account")
        return shown(AccountView, await self.edit(request, row, fields))

    async def delete_account(self, request: Request) -> Gone:
        row = await self.seen(request, ServiceAccount, request.id)
        rights.require_rank(request.caller.role, row.role, "The service account")
        await self.delete(request, row)
        return Gone(request.id)


def team_of_the_file(name: str, written: Mapping[str, Any]) -> TeamView:
    terms = {term: written[term] for term in ("markup", "allowance") if term in written}
    return TeamView(**of_the_file(name), name=name, **bounds_of_the_file(written), **terms)


def _with_terms(fields: dict[str, Any]) -> dict[str, Any]:
    """Markup and allowance as they are kept. Raises InvalidRequest."""
    _make_exact(fields, "markup", parse_percent, format_percent)
    _make_exact(fields, "allowance", parse_money, format_money)
    return fields


def _make_exact(
    fields: dict[str, Any], name: str, parse: Callable[[str], int], written: Callable[[int], str]
) -> None:
    if name in fields:
        try:
            fields[name] = written(parse(str(fields[name])))
        except ValueError as exc:
            raise InvalidRequest(f"`{name}`: {exc}.", param=name) from exc
