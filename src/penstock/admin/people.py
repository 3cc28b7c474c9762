"""Teams, users, who is in which team, and service accounts."""

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
from penstock.admin.desk import Desk, Paged, Request, said, shown, switched
from penstock.types.store import Membership, ServiceAccount, Team, User


class People(Desk):
    # -- teams

    async def teams(self, request: Request) -> Paged[TeamView]:
        team = rights.scope(request.caller)
        if team is None:
            return await self.page(request, Team, TeamView)
        return Paged([shown(TeamView, await self.store.get(Team, team))])

    async def team(self, request: Request) -> TeamView:
        return shown(TeamView, await self.seen(request, Team, request.id))

    async def new_team(self, request: Request) -> TeamView:
        body: NewTeam = request.body
        return shown(TeamView, await self.create(request, Team(**said(body))))

    async def edit_team(self, request: Request) -> TeamView:
        body: EditTeam = request.body
        row = await self.seen(request, Team, request.id)
        return shown(TeamView, await self.edit(request, row, said(body)))

    async def delete_team(self, request: Request) -> Gone:
        await self.delete(request, await self.seen(request, Team, request.id))
        return Gone(request.id)

    # -- users

    async def users(self, request: Request) -> Paged[UserView]:
        return await self.page(request, User, UserView)

    async def user(self, request: Request) -> UserView:
        return shown(UserView, await self.seen(request, User, request.id))

    async def new_user(self, request: Request) -> UserView:
        body: NewUser = request.body
        rights.require_rank(request.caller, body.role, "The user")
        return shown(UserView, await self.create(request, User(**said(body))))

    async def edit_user(self, request: Request) -> UserView:
        body: EditUser = request.body
        row = await self.seen(request, User, request.id)
        fields = switched(row, said(body), self.now_s())
        rights.require_rank(request.caller, row.role, "The user")
        rights.require_rank(request.caller, fields.get("role", row.role), "The user")
        return shown(UserView, await self.edit(request, row, fields))

    async def delete_user(self, request: Request) -> Gone:
        row = await self.seen(request, User, request.id)
        rights.require_rank(request.caller, row.role, "The user")
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
        rights.require_rank(request.caller, body.role, "The membership")
        await self.require_place(request.caller, Team, body.team, "team")
        await self.require_place(request.caller, User, body.user, "user")
        return shown(MembershipView, await self.create(request, Membership(**said(body))))

    async def edit_membership(self, request: Request) -> MembershipView:
        body: EditMembership = request.body
        row = await self.seen(request, Membership, request.id)
        rights.require_rank(request.caller, row.role, "The membership")
        rights.require_rank(request.caller, body.role, "The membership")
        return shown(MembershipView, await self.edit(request, row, said(body)))

    async def delete_membership(self, request: Request) -> Gone:
        row = await self.seen(request, Membership, request.id)
        rights.require_rank(request.caller, row.role, "The membership")
        await self.delete(request, row)
        return Gone(request.id)

    # -- service accounts

    async def accounts(self, request: Request) -> Paged[AccountView]:
        return await self.page(request, ServiceAccount, AccountView, {"team": request.query.team})

    async def account(self, request: Request) -> AccountView:
        return shown(AccountView, await self.seen(request, ServiceAccount, request.id))

    async def new_account(self, request: Request) -> AccountView:
        body: NewAccount = request.body
        rights.require_rank(request.caller, body.role, "The service account")
        await self.require_place(request.caller, Team, body.team, "team")
        return shown(AccountView, await self.create(request, ServiceAccount(**said(body))))

    async def edit_account(self, request: Request) -> AccountView:
        body: EditAccount = request.body
        row = await self.seen(request, ServiceAccount, request.id)
        fields = switched(row, said(body), self.now_s())
        rights.require_rank(request.caller, row.role, "The service account")
        rights.require_rank(request.caller, fields.get("role", row.role), "The service account")
        return shown(AccountView, await self.edit(request, row, fields))

    async def delete_account(self, request: Request) -> Gone:
        row = await self.seen(request, ServiceAccount, request.id)
        rights.require_rank(request.caller, row.role, "The service account")
        await self.delete(request, row)
        return Gone(request.id)
