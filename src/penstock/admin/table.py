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
from penstock.admin.rights import EVERYBODY, KEY_MAKERS, MANAGERS, OVERSEERS, TEAM_MANAGERS, Who
from penstock.admin.statements import Monthly
from penstock.admin.things import Things
from penstock.types.control import ConfigurationView, DeploymentLine

PREFIX: Final = "/admin/v1"
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


class Endpoint(msgspec.Struct, frozen=True, dict=True):
    """who: may call it; what they see of it is the handler's to say."""

    method: Method
    path: str
    title: str
    handle: Callable[[Request], Awaitable[Any]]
    who: Who
    answer: Any
    body: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] | None = None
    status: int = 200
    other_type: str | None = None  # of an answer that is not JSON
    is_read: bool = False  # a POST that writes nothing: its answer need not be kept

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        steps = re.escape(self.path).replace(r"\{id\}", "(?P<id>[^/]+)").replace(r"\{name\}", "(?P<id>.+)")
        return re.compile(PREFIX + steps)


def table(
    people: People, keys: Keys, things: Things, reports: Reports, monthly: Monthly, *, books: Books
) -> Sequence[Endpoint]:
    return (
        # teams and who is in them
        Endpoint(
            "GET", "/teams", "A page of teams", people.teams, EVERYBODY, Paged[b.TeamView], query=b.ListQuery
        ),
        Endpoint("GET", "/teams/{id}", "One team", people.team, EVERYBODY, b.TeamView),
        Endpoint(
            "POST", "/teams", "Make a team", people.new_team, MANAGERS, b.TeamView, body=b.NewTeam, status=201
        ),
        Endpoint(
            "PATCH", "/teams/{id}", "Change a team", people.edit_team, MANAGERS, b.TeamView, body=b.EditTeam
        ),
        Endpoint("DELETE", "/teams/{id}", "Delete a team", people.delete_team, MANAGERS, b.Gone),
        Endpoint(
            "GET", "/users", "A page of users", people.users, OVERSEERS, Paged[b.UserView], query=b.ListQuery
        ),
        Endpoint("GET", "/users/{id}", "One user", people.user, OVERSEERS, b.UserView),
        Endpoint(
            "POST", "/users", "Make a user", people.new_user, MANAGERS, b.UserView, body=b.NewUser, status=201
        ),
        Endpoint(
            "PATCH", "/users/{id}", "Change a user", people.edit_user, MANAGERS, b.UserView, body=b.EditUser
        ),
        Endpoint("DELETE", "/users/{id}", "Delete a user", people.delete_user, MANAGERS, b.Gone),
        Endpoint(
            "GET",
            "/memberships",
            "A page of memberships",
            people.memberships,
            EVERYBODY,
            Paged[b.MembershipView],
            query=b.MemberQuery,
        ),
        Endpoint(
            "GET", "/memberships/{id}", "One membership", people.membership, EVERYBODY, b.MembershipView
        ),
        Endpoint(
            "POST",
            "/memberships",
            "Make a membership",
            people.new_membership,
            MANAGERS,
            b.MembershipView,
            body=b.NewMembership,
            status=201,
        ),
        Endpoint(
            "PATCH",
            "/memberships/{id}",
            "Change a membership",
            people.edit_membership,
            TEAM_MANAGERS,
            b.MembershipView,
            body=b.EditMembership,
        ),
        Endpoint(
            "DELETE",
            "/memberships/{id}",
            "Delete a membership",
            people.delete_membership,
            TEAM_MANAGERS,
            b.Gone,
        ),
        Endpoint(
            "GET",
            "/service-accounts",
            "A page of service accounts",
            people.accounts,
            EVERYBODY,
            Paged[b.AccountView],
            query=b.TeamQuery,
        ),
        Endpoint(
            "GET", "/service-accounts/{id}", "One service account", people.account, EVERYBODY, b.AccountView
        ),
        Endpoint(
            "POST",
            "/service-accounts",
            "Make a service account",
            people.new_account,
            TEAM_MANAGERS,
            b.AccountView,
            body=b.NewAccount,
            status=201,
        ),
        Endpoint(
            "PATCH",
            "/service-accounts/{id}",
            "Change a service account",
            people.edit_account,
            TEAM_MANAGERS,
            b.AccountView,
            body=b.EditAccount,
        ),
        Endpoint(
            "DELETE",
            "/service-accounts/{id}",
            "Delete a service account",
            people.delete_account,
            TEAM_MANAGERS,
            b.Gone,
        ),
        # keys
        Endpoint("GET", "/keys", "A page of keys", keys.keys, EVERYBODY, Paged[b.KeyView], query=b.KeyQuery),
        Endpoint("GET", "/keys/{id}", "One key", keys.key, EVERYBODY, b.KeyView),
        Endpoint(
            "POST",
            "/keys",
            "Make a key; its secret is shown this once",
            keys.new_key,
            KEY_MAKERS,
            b.CreatedKey,
            body=b.NewKey,
            status=201,
        ),
        Endpoint("PATCH", "/keys/{id}", "Change a key", keys.edit_key, KEY_MAKERS, b.KeyView, body=b.EditKey),
        Endpoint(
            "POST",
            "/keys/{id}/rotate",
            "Give a key a new secret; the old one works for a while beside it",
            keys.rotate,
            KEY_MAKERS,
            b.CreatedKey,
            body=b.RotateKey,
        ),
        Endpoint(
            "POST",
            "/keys/{id}/revoke",
            "Switch a key off, and end what runs with it",
            keys.revoke,
            KEY_MAKERS,
            b.KeyView,
            body=b.Nothing,
        ),
        # routes
        Endpoint(
            "GET",
            "/routes",
            "A page of routes",
            things.routes,
            OVERSEERS,
            Paged[b.RouteView],
            query=b.ListQuery,
        ),
        Endpoint("GET", "/routes/{name}", "One route", things.route, OVERSEERS, b.RouteView),
        Endpoint(
            "POST",
            "/routes",
            "Make a route",
            things.new_route,
            OVERSEERS,
            b.RouteView,
            body=b.NewRoute,
            status=201,
        ),
        Endpoint(
            "PUT",
            "/routes/{name}",
            "Say what a route is",
            things.edit_route,
            OVERSEERS,
            b.RouteView,
            body=b.EditRoute,
        ),
        Endpoint("DELETE", "/routes/{name}", "Delete a route", things.delete_route, OVERSEERS, b.Gone),
        # webhooks
        Endpoint(
            "GET",
            "/webhooks",
            "A page of webhooks",
            things.webhooks,
            OVERSEERS,
            Paged[b.WebhookView],
            query=b.TeamQuery,
        ),
        Endpoint("GET", "/webhooks/{id}", "One webhook", things.webhook, OVERSEERS, b.WebhookView),
        Endpoint(
            "POST",
            "/webhooks",
            "Make a webhook",
            things.new_webhook,
            MANAGERS,
            b.CreatedWebhook,
            body=b.NewWebhook,
            status=201,
        ),
        Endpoint(
            "PATCH",
            "/webhooks/{id}",
            "Change a webhook",
            things.edit_webhook,
            MANAGERS,
            b.WebhookView,
            body=b.EditWebhook,
        ),
        Endpoint("DELETE", "/webhooks/{id}", "Delete a webhook", things.delete_webhook, MANAGERS, b.Gone),
        Endpoint(
            "GET",
            "/changes",
            "Who changed what, newest first",
            reports.changes,
            OVERSEERS,
            Paged[b.ChangeView],
            query=b.ChangeQuery,
        ),
        # usage
        Endpoint(
            "GET", "/usage", "Totals of usage", reports.totals, EVERYBODY, Paged[b.SumView], query=b.SumQuery
        ),
        Endpoint(
            "GET",
            "/usage/series",
            "Usage by time",
            reports.series,
            EVERYBODY,
            Paged[b.SumView],
            query=b.SeriesQuery,
        ),
        Endpoint(
            "GET",
            "/usage/calls",
            "Single calls, newest first",
            reports.calls,
            EVERYBODY,
            Paged[b.CallView],
            query=b.CallQuery,
        ),
        Endpoint(
            "POST",
            "/usage/rerate",
            "Give calls the cost that they have by the prices that hold now",
            books.rerate,
            MANAGERS,
            b.RerateAnswer,
            body=b.Rerate,
        ),
        Endpoint(
            "GET",
            "/limits",
            "Limits and budgets, and what is used of them",
            reports.limits,
            EVERYBODY,
            Paged[b.LimitLine],
            query=b.LimitQuery,
        ),
        Endpoint(
            "GET",
            "/statements",
            "What each team used in a month, as JSON or (`format=csv`) as CSV",
            monthly.statements,
            EVERYBODY,
            b.Statements,
            query=b.StatementQuery,
            other_type="text/csv",
        ),
        Endpoint(
            "POST",
            "/statements/reconcile",
            "Compare a provider's invoice with our usage, as JSON or (`format`: `csv`) as CSV",
            books.reconcile,
            OVERSEERS,
            b.Reconciliation,
            body=b.Reconcile,
            other_type="text/csv",
            is_read=True,
        ),
        Endpoint(
            "GET",
            "/configuration",
            "What configuration runs, and why not a newer one",
            reports.configuration_view,
            OVERSEERS,
            ConfigurationView,
        ),
        Endpoint(
            "GET",
            "/deployments",
            "Deployments and their health",
            reports.deployments,
            OVERSEERS,
            Paged[DeploymentLine],
        ),
    )


def described() -> Sequence[Endpoint]:
    """The rows with nothing behind them: for documents."""
    nothing: Any = None
    parts = (nothing, nothing, nothing)
    return table(
        People(*parts), Keys(*parts), Things(*parts), Reports(*parts), Monthly(*parts), books=Books(*parts)
    )
