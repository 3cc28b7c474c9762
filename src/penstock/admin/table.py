"""Every endpoint of the admin API: one row each. The dispatcher and the OpenAPI document read the same rows.

`{id}` is one step of the path, `{name}` all the rest of it: names of routes have slashes.
A handler takes a Request (desk.py), whose body and query are already of the row's types.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from typing import Any, Final, Literal

import msgspec

from penstock.admin import bodies as b
from penstock.admin.books import Books
from penstock.admin.desk import Paged, Request
from penstock.admin.keys import Keys
from penstock.admin.people import People
from penstock.admin.reports import Reports
from penstock.admin.rights import ADMINS, EVERYBODY, MAKERS, WHOLE
from penstock.admin.statements import Monthly
from penstock.admin.things import Things
from penstock.types.control import ConfigurationView, DeploymentLine
from penstock.types.identity import RoleName

PREFIX: Final = "/admin/v1"
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """who: the roles that may call it; what they see of it is the handler's to say."""

    method: Method
    path: str
    title: str
    handle: Callable[[Request], Awaitable[Any]]
    who: frozenset[RoleName]
    answer: Any
    body: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] | None = None
    status: int = 200
    other_type: str | None = None  # of an answer that is not JSON
    is_read: bool = False  # a POST that writes nothing: its answer need not be kept

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        steps = re.escape(self.path)
        for mark, text in ((r"\{id\}", r"[^/\0]+"), (r"\{name\}", r"[^\0]+")):  # no database has a NUL
            steps = steps.replace(mark, f"(?P<id>{text})")
        return re.compile(PREFIX + steps)


def table(
    people: People, keys: Keys, things: Things, reports: Reports, monthly: Monthly, *, books: Books
) -> Sequence[Endpoint]:
    return (
        *_entities(
            "/teams", "team", b.TeamView, query=b.ListQuery, who=EVERYBODY, page=people.teams, get=people.team
        ),
        *_made(
            "/teams",
            "team",
            b.TeamView,
            new=b.NewTeam,
            edit=b.EditTeam,
            make=people.new_team,
            change=people.edit_team,
        ),
        _deleted("/teams/{id}", "team", people.delete_team),
        *_entities(
            "/users", "user", b.UserView, query=b.ListQuery, who=WHOLE, page=people.users, get=people.user
        ),
        *_made(
            "/users",
            "user",
            b.UserView,
            new=b.NewUser,
            edit=b.EditUser,
            make=people.new_user,
            change=people.edit_user,
        ),
        _deleted("/users/{id}", "user", people.delete_user),
        *_entities(
            "/memberships",
            "membership",
            b.MembershipView,
            query=b.MemberQuery,
            who=EVERYBODY,
            page=people.memberships,
            get=people.membership,
        ),
        *_made(
            "/memberships",
            "membership",
            b.MembershipView,
            new=b.NewMembership,
            edit=b.EditMembership,
            make=people.new_membership,
            change=people.edit_membership,
        ),
        _deleted("/memberships/{id}", "membership", people.delete_membership),
        *_entities(
            "/service-accounts",
            "service account",
            b.AccountView,
            query=b.TeamQuery,
            who=EVERYBODY,
            page=people.accounts,
            get=people.account,
        ),
        *_made(
            "/service-accounts",
            "service account",
            b.AccountView,
            new=b.NewAccount,
            edit=b.EditAccount,
            make=people.new_account,
            change=people.edit_account,
        ),
        _deleted("/service-accounts/{id}", "service account", people.delete_account),
        *_entities("/keys", "key", b.KeyView, query=b.KeyQuery, who=EVERYBODY, page=keys.keys, get=keys.key),
        Endpoint(
            method="POST",
            path="/keys",
            title="Make a key; its secret is shown this once",
            handle=keys.new_key,
            who=MAKERS,
            body=b.NewKey,
            answer=b.CreatedKey,
            status=201,
        ),
        Endpoint(
            method="PATCH",
            path="/keys/{id}",
            title="Change a key",
            handle=keys.edit_key,
            who=MAKERS,
            body=b.EditKey,
            answer=b.KeyView,
        ),
        Endpoint(
            method="POST",
            path="/keys/{id}/rotate",
            title="Give a key a new secret; the old one works for a while beside it",
            handle=keys.rotate,
            who=MAKERS,
            body=b.RotateKey,
            answer=b.CreatedKey,
        ),
        Endpoint(
            method="POST",
            path="/keys/{id}/revoke",
            title="Switch a key off, and end what runs with it",
            handle=keys.revoke,
            who=MAKERS,
            body=b.Nothing,
            answer=b.KeyView,
        ),
        *_entities(
            "/routes",
            "route",
            b.RouteView,
            query=b.ListQuery,
            who=WHOLE,
            page=things.routes,
            get=things.route,
            one="{name}",
        ),
        Endpoint(
            method="POST",
            path="/routes",
            title="Make a route",
            handle=things.new_route,
            who=WHOLE,
            body=b.NewRoute,
            answer=b.RouteView,
            status=201,
        ),
        Endpoint(
            method="PUT",
            path="/routes/{name}",
            title="Say what a route is",
            handle=things.edit_route,
            who=WHOLE,
            body=b.EditRoute,
            answer=b.RouteView,
        ),
        msgspec.structs.replace(_deleted("/routes/{name}", "route", things.delete_route), who=WHOLE),
        *_entities(
            "/webhooks",
            "webhook",
            b.WebhookView,
            query=b.TeamQuery,
            who=WHOLE,
            page=things.webhooks,
            get=things.webhook,
        ),
        *_made(
            "/webhooks",
            "webhook",
            b.CreatedWebhook,
            new=b.NewWebhook,
            edit=b.EditWebhook,
            make=things.new_webhook,
            change=things.edit_webhook,
            edited=b.WebhookView,
        ),
        _deleted("/webhooks/{id}", "webhook", things.delete_webhook),
        _report(
            "/changes",
            "Who changed what, newest first",
            reports.changes,
            query=b.ChangeQuery,
            row=b.ChangeView,
        ),
        _report("/usage", "Totals of usage", reports.totals, query=b.SumQuery, row=b.SumView, who=EVERYBODY),
        _report(
            "/usage/series",
            "Usage by time",
            reports.series,
            query=b.SeriesQuery,
            row=b.SumView,
            who=EVERYBODY,
        ),
        _report(
            "/usage/calls",
            "Single calls, newest first",
            reports.calls,
            query=b.CallQuery,
            row=b.CallView,
            who=EVERYBODY,
        ),
        Endpoint(
            method="POST",
            path="/usage/rerate",
            title="Give calls the cost that they have by the prices that hold now",
            handle=books.rerate,
            who=ADMINS,
            body=b.Rerate,
            answer=b.RerateAnswer,
        ),
        Endpoint(
            method="GET",
            path="/limits",
            title="Limits and budgets, and what is used of them",
            handle=reports.limits,
            who=EVERYBODY,
            query=b.LimitQuery,
            answer=Paged[b.LimitLine],
        ),
        Endpoint(
            method="GET",
            path="/statements",
            title="What each team used in a month, as JSON or (`format=csv`) as CSV",
            handle=monthly.statements,
            who=EVERYBODY,
            query=b.StatementQuery,
            answer=b.Statements,
            other_type="text/csv",
        ),
        Endpoint(
            method="POST",
            path="/statements/reconcile",
            title="Compare a provider's invoice with our usage, as JSON or (`format`: `csv`) as CSV",
            handle=books.reconcile,
            who=WHOLE,
            body=b.Reconcile,
            answer=b.Reconciliation,
            other_type="text/csv",
            is_read=True,
        ),
        Endpoint(
            method="GET",
            path="/configuration",
            title="What configuration runs, and why not a newer one",
            handle=reports.configuration_view,
            who=WHOLE,
            answer=ConfigurationView,
        ),
        Endpoint(
            method="GET",
            path="/deployments",
            title="Deployments and their health",
            handle=reports.deployments,
            who=WHOLE,
            answer=Paged[DeploymentLine],
        ),
    )


def described() -> Sequence[Endpoint]:
    """The rows with nothing behind them: for documents."""
    nothing: Any = None
    parts = (nothing, nothing, nothing)
    return table(
        People(*parts), Keys(*parts), Things(*parts), Reports(*parts), Monthly(*parts), books=Books(*parts)
    )


def _entities(
    path: str,
    noun: str,
    view: Any,
    *,
    query: type[msgspec.Struct],
    who: frozenset[RoleName],
    page: Callable[[Request], Awaitable[Any]],
    get: Callable[[Request], Awaitable[Any]],
    one: str = "{id}",
) -> tuple[Endpoint, Endpoint]:
    """The two that read."""
    return (
        Endpoint(
            method="GET",
            path=path,
            title=f"A page of {noun}s",
            handle=page,
            who=who,
            query=query,
            answer=Paged[view],
        ),
        Endpoint(method="GET", path=f"{path}/{one}", title=f"One {noun}", handle=get, who=who, answer=view),
    )


def _made(
    path: str,
    noun: str,
    view: Any,
    *,
    new: type[msgspec.Struct],
    edit: type[msgspec.Struct],
    make: Callable[[Request], Awaitable[Any]],
    change: Callable[[Request], Awaitable[Any]],
    edited: Any = None,
) -> tuple[Endpoint, Endpoint]:
    """The two that write, for admins."""
    return (
        Endpoint(
            method="POST",
            path=path,
            title=f"Make a {noun}",
            handle=make,
            who=ADMINS,
            body=new,
            answer=view,
            status=201,
        ),
        Endpoint(
            method="PATCH",
            path=f"{path}/{{id}}",
            title=f"Change a {noun}",
            handle=change,
            who=ADMINS,
            body=edit,
            answer=edited or view,
        ),
    )


def _deleted(path: str, noun: str, handle: Callable[[Request], Awaitable[Any]]) -> Endpoint:
    return Endpoint(
        method="DELETE", path=path, title=f"Delete a {noun}", handle=handle, who=ADMINS, answer=b.Gone
    )


def _report(
    path: str,
    title: str,
    handle: Callable[[Request], Awaitable[Any]],
    *,
    query: type[msgspec.Struct],
    row: Any,
    who: frozenset[RoleName] = WHOLE,
) -> Endpoint:
    return Endpoint(
        method="GET", path=path, title=title, handle=handle, who=who, query=query, answer=Paged[row]
    )
