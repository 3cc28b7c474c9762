"""What the admin API takes and gives. Stamps are Unix seconds.

A field that is left out of an edit stays as it is; null clears it.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from penstock.types.identity import PriorityName, RoleName
from penstock.types.store import Budget, Limits, Period
from penstock.types.usage_store import Step
from penstock.types.webhooks import EventType

# Control characters, ends of lines, and what turns a text around: a name must look like what it is.
_ODD: Final = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"
Text = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=rf"\A[^\s{_ODD}]([^{_ODD}]*[^\s{_ODD}])?\Z",
        description="a text of visible characters and spaces between them",
    ),
]
Words = Annotated[
    str,
    Meta(
        max_length=200,
        pattern=rf"\A[^{_ODD}]*\Z",
        description="a text of visible characters and spaces",
    ),
]
Email = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=254,
        pattern=rf"\A[^@\s{_ODD}]+@[^@\s{_ODD}]+\Z",
        description="an e-mail address",
    ),
]
Id = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\A[^\x00-\x1f\x7f]+\Z")]
NewId = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"\A[A-Za-z0-9][A-Za-z0-9._:@+-]*\Z")]
RouteName = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\A[A-Za-z0-9][A-Za-z0-9._:/@+-]*\Z")]
Url = Annotated[str, Meta(min_length=8, max_length=2000, pattern=r"\Ahttps?://[!-~]+\Z")]
Stamp = Annotated[int, Meta(ge=0, le=253_402_300_799)]
Version = Annotated[int, Meta(ge=1, le=2**53)]
Limit = Annotated[int, Meta(ge=1, le=1000)]
Source = Literal["store", "file"]


class Sent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of a request. `version`: that was read; another in the store is a 409."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """Of an answer. `version` rises with every change."""

    id: str
    created: int
    created_by: str
    version: int


# -- limits and budgets

# Checked by the reader of the configuration. Here they have no Meta: msgspec 0.22 writes beside its memory
# where a text and a list of one union both have a length (docs/log.md).
Rates = str | list[str]
Share = Annotated[float, Meta(gt=0, le=1)]


class NewLimits(Sent, frozen=True, kw_only=True):
    """As in penstock.yaml: `60/min`, `20k/min`; several hold all at once."""

    requests: Rates = []
    tokens: Rates = []
    concurrency: Annotated[int, Meta(ge=1, le=1_000_000_000)] | None = None


class NewBudget(Sent, frozen=True, kw_only=True):
    """usd: exact as text. period: from midnight, Monday, the first; ever. rolling: `30d`, instead.

    models: public names that it is for; default: all. alerts: shares of it that webhooks are told of.
    """

    usd: str | int
    period: Period = "month"
    rolling: Annotated[str, Meta(max_length=40)] | None = None
    models: Annotated[list[RouteName], Meta(max_length=100)] = []
    alerts: Annotated[list[Share], Meta(max_length=10)] | None = None


Budgets = Annotated[list[NewBudget], Meta(max_length=20)]
Number = str | int | float  # exact as text


# -- teams and people


class NewTeam(Sent, frozen=True, kw_only=True):
    """id: where the file or an issuer of tokens names the team by a word of its own.

    markup: percent that statements add to its costs; below 0 it is a discount. allowance: USD of each month's
    statement that are free.
    """

    name: Text
    id: NewId | UnsetType = UNSET
    limits: NewLimits = NewLimits()
    budget: Budgets = []
    markup: Number = "0"
    allowance: Number = "0"


class EditTeam(Sent, frozen=True, kw_only=True):
    """limits, budget: take the place of all that were there."""

    name: Text | UnsetType = UNSET
    limits: NewLimits | UnsetType = UNSET
    budget: Budgets | UnsetType = UNSET
    markup: Number | UnsetType = UNSET
    allowance: Number | UnsetType = UNSET
    version: Version | UnsetType = UNSET


class TeamView(Kept, frozen=True, kw_only=True):
    """source: `file` for a team of penstock.yaml, which can only be changed there."""

    name: str
    limits: Limits = Limits()
    budget: list[Budget] = []
    markup: str = "0"
    allowance: str = "0"
    source: Source = "store"


class NewUser(Sent, frozen=True, kw_only=True):
    email: Email
    name: Words = ""
    role: RoleName = "developer"
    limits: NewLimits = NewLimits()
    budget: Budgets = []


class EditUser(Sent, frozen=True, kw_only=True):
    """disabled: the keys of a disabled user are off."""

    email: Email | UnsetType = UNSET
    name: Words | UnsetType = UNSET
    role: RoleName | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET
    limits: NewLimits | UnsetType = UNSET
    budget: Budgets | UnsetType = UNSET
    version: Version | UnsetType = UNSET


class UserView(Kept, frozen=True, kw_only=True):
    """disabled: since when."""

    email: str
    name: str
    role: RoleName
    limits: Limits
    budget: list[Budget]
    disabled: int | None


class NewMembership(Sent, frozen=True, kw_only=True):
    team: Id
    user: Id
    role: RoleName = "developer"


class EditMembership(Sent, frozen=True, kw_only=True):
    role: RoleName
    version: Version | UnsetType = UNSET


class MembershipView(Kept, frozen=True, kw_only=True):
    team: str
    user: str
    role: RoleName


class NewAccount(Sent, frozen=True, kw_only=True):
    name: Text
    team: Id | None = None
    role: RoleName = "developer"


class EditAccount(Sent, frozen=True, kw_only=True):
    name: Text | UnsetType = UNSET
    role: RoleName | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET
    version: Version | UnsetType = UNSET


class AccountView(Kept, frozen=True, kw_only=True):
    name: str
    team: str | None
    role: RoleName
    disabled: int | None


# -- keys

Routes = Annotated[list[RouteName], Meta(max_length=1000)]
Networks = Annotated[list[Annotated[str, Meta(min_length=2, max_length=64)]], Meta(max_length=100)]


class NewKey(Sent, frozen=True, kw_only=True):
    """What is left out is as it is of the key that asks, where that is limited.

    routes: public names it may use; null allows all. networks: CIDR ranges; none allows all.
    """

    name: Text
    team: Id | UnsetType | None = UNSET
    user: Id | None = None
    account: Id | None = None
    role: RoleName = "developer"
    priority: PriorityName | UnsetType = UNSET
    routes: Routes | UnsetType | None = UNSET
    networks: Networks | UnsetType = UNSET
    limits: NewLimits = NewLimits()
    budget: Budgets = []
    expires: Stamp | UnsetType | None = UNSET


class EditKey(Sent, frozen=True, kw_only=True):
    name: Text | UnsetType = UNSET
    role: RoleName | UnsetType = UNSET
    priority: PriorityName | UnsetType = UNSET
    routes: Routes | UnsetType | None = UNSET
    networks: Networks | UnsetType = UNSET
    limits: NewLimits | UnsetType = UNSET
    budget: Budgets | UnsetType = UNSET
    expires: Stamp | UnsetType | None = UNSET
    version: Version | UnsetType = UNSET


class Nothing(Sent, frozen=True, kw_only=True):
    """An empty object."""


class RotateKey(Sent, frozen=True, kw_only=True):
    """overlap_s: how long the old secret works beside the new one."""

    overlap_s: Annotated[int, Meta(ge=0, le=366 * 86_400)] = 86_400


class KeyView(Kept, frozen=True, kw_only=True):
    """source: `file` for a key of penstock.yaml, which can only be changed there.

    role: as it was given; it may do no more than its user or account. prefix: how its secret begins.
    overlap_ends: until then the secret before the last rotation works, too.
    """

    name: str
    prefix: str
    team: str | None = None
    user: str | None = None
    account: str | None = None
    role: RoleName = "developer"
    priority: PriorityName = "default"
    routes: list[str] | None = None
    networks: list[str] = []
    limits: Limits = Limits()
    budget: list[Budget] = []
    expires: int | None = None
    revoked: int | None = None
    overlap_ends: int | None = None
    source: Source = "store"


class CreatedKey(KeyView, frozen=True, kw_only=True):
    """secret: shown this once; only its hash is kept."""

    secret: str


# -- routes and webhooks


class NewRoute(Sent, frozen=True, kw_only=True):
    """route: as `routes.<name>` in penstock.yaml."""

    name: RouteName
    route: dict[str, Any]


class EditRoute(Sent, frozen=True, kw_only=True):
    route: dict[str, Any]
    version: Version | UnsetType = UNSET


class RouteView(msgspec.Struct, frozen=True, kw_only=True):
    """source: `file` for a route of penstock.yaml, which wins over a stored one of its name."""

    name: str
    route: dict[str, Any]
    source: Source
    created: int = 0
    created_by: str = ""
    version: int = 0
    left_out: str | None = None


class NewWebhook(Sent, frozen=True, kw_only=True):
    url: Url
    events: Annotated[list[EventType], Meta(max_length=100)] = []
    team: Id | None = None


class EditWebhook(Sent, frozen=True, kw_only=True):
    url: Url | UnsetType = UNSET
    events: Annotated[list[EventType], Meta(max_length=100)] | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET
    version: Version | UnsetType = UNSET


class WebhookView(Kept, frozen=True, kw_only=True):
    """source: `file` for one of penstock.yaml, which can only be changed there."""

    url: str
    events: list[str]
    team: str | None
    disabled: int | None
    source: Source = "store"


class CreatedWebhook(WebhookView, frozen=True, kw_only=True):
    """secret: signs what is sent; shown this once."""

    secret: str


class Gone(msgspec.Struct, frozen=True):
    id: str
    deleted: bool = True


# -- what can be asked of lists, and reports


class ListQuery(Sent, frozen=True, kw_only=True):
    cursor: Annotated[str, Meta(max_length=500)] | None = None
    limit: Limit = 100


class KeyQuery(ListQuery, frozen=True, kw_only=True):
    team: Id | None = None
    user: Id | None = None
    account: Id | None = None


class TeamQuery(ListQuery, frozen=True, kw_only=True):
    team: Id | None = None


class MemberQuery(TeamQuery, frozen=True, kw_only=True):
    user: Id | None = None


class ChangeQuery(ListQuery, frozen=True, kw_only=True):
    """path: of what was changed, or how it begins: `keys/`, `routes/chat`. actor: the key that changed it."""

    path: Annotated[str, Meta(max_length=300, pattern=r"\A[^\x00]*\Z")] = ""
    actor: Annotated[str, Meta(max_length=200, pattern=r"\A[^\x00]*\Z")] | None = None


When = Annotated[str, Meta(min_length=1, max_length=40)]
Word = Annotated[str, Meta(min_length=1, max_length=300, pattern=r"\A[^\x00]*\Z")]


class UsageQuery(ListQuery, frozen=True, kw_only=True):
    """since, until: a time ago (`7d`, `12h`), a date, RFC 3339, or Unix seconds. `until` is left out."""

    since: When = "30d"
    until: When | None = None
    key: Word | None = None
    team: Word | None = None
    user: Word | None = None
    route: Word | None = None
    model: Word | None = None
    deployment: Word | None = None
    provider: Word | None = None
    operation: Word | None = None


class SumQuery(UsageQuery, frozen=True, kw_only=True):
    """by: names of dimensions with commas between them: `team,model`."""

    by: Annotated[str, Meta(max_length=100)] = ""


class SeriesQuery(SumQuery, frozen=True, kw_only=True):
    step: Step = "day"


class CallQuery(UsageQuery, frozen=True, kw_only=True):
    id: Word | None = None
    status: Annotated[int, Meta(ge=0, le=999)] | None = None
    error: Word | None = None
    failed: Literal["true", "false"] | None = None


class LimitQuery(Sent, frozen=True, kw_only=True):
    """Whose limits; nothing said: those of the key that asks, and of its team and its user."""

    key: Id | None = None
    team: Id | None = None
    user: Id | None = None
    route: Word | None = None


class LimitLine(msgspec.Struct, frozen=True, kw_only=True):
    """A limit, and how much of it is used. Figures of `usd` are dollars; all are exact, so they are text.

    window: seconds, or a period of the calendar; null: at once. reserved: for calls that run,
    beside what is used. models: what it is for; empty: all.
    """

    scope: Literal["key", "user", "team", "route", "deployment", "provider"]
    id: str
    models: list[str]
    resource: Literal["requests", "tokens", "usd", "concurrency"]
    window: str | None
    limit: str
    used: str
    reserved: str
    remaining: str


class StatementQuery(Sent, frozen=True, kw_only=True):
    """month: of UTC; default: the one that runs. team: default: every team that the key may see."""

    month: Annotated[str, Meta(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$")] | None = None
    team: Id | None = None
    format: Literal["json", "csv"] = "json"


class StatementLine(msgspec.Struct, frozen=True, kw_only=True):
    """due_usd = cost_usd + markup_usd, exact, as text; `unpriced` calls are not in it.

    item: `allowance` for the credit, which has no calls and no cost: its due_usd is below 0.
    since: of the month, or of the terms that it was charged by where they changed within it.
    """

    item: Literal["usage", "allowance"] = "usage"
    since: str
    route: str
    provider: str
    markup_percent: str
    calls: int
    failed: int
    prompt_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    images: int
    cost_usd: str
    markup_usd: str
    due_usd: str
    unpriced: int
    estimated: int


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """Of one team; an empty `team` is of calls by keys without one. Its sums are those of its lines.

    markup_percent: at the end of the month; each line has its own. allowance_usd: the credit, 0 or below.
    due_usd = cost_usd + markup_usd + allowance_usd, never below 0.
    """

    team: str
    name: str
    markup_percent: str
    calls: int
    failed: int
    prompt_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    images: int
    cost_usd: str
    markup_usd: str
    allowance_usd: str
    due_usd: str
    unpriced: int
    estimated: int
    lines: list[StatementLine]


class Statements(msgspec.Struct, frozen=True, kw_only=True):
    """is_final: the month is over for a day, and so are the calls that began in it."""

    month: str
    since: str
    until: str
    is_final: bool
    data: list[Statement]


class Rerate(Sent, frozen=True, kw_only=True):
    """since, until: as of /usage. model: public name. cursor: that the answer before gave.

    dry_run: tells what would change.
    """

    since: When
    until: When | None = None
    model: Word | None = None
    deployment: Word | None = None
    provider: Word | None = None
    dry_run: bool = False
    cursor: Annotated[str, Meta(max_length=500)] | None = None


class RerateAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How many calls changed, or were left: no_price: their deployment has none now. no_usage: it does not
    suffice for the price. nothing_owed: nobody was told of their answer.

    before_usd, after_usd: of those that changed, exact; were_unpriced: how many had no cost before.
    cursor: null at the end; else there is more to do.
    """

    dry_run: bool
    changed: int
    same: int
    no_price: int
    no_usage: int
    nothing_owed: int
    were_unpriced: int
    before_usd: str
    after_usd: str
    cursor: str | None


Column = Annotated[str, Meta(min_length=1, max_length=500)]
InvoiceState = Literal["matched", "invoice_only", "ours_only"]


class InvoiceColumns(Sent, frozen=True, kw_only=True):
    """Names of the header; several with + between them are added up."""

    date: Column | None = None
    model: Column | None = None
    cost: Column | None = None
    input: Column | None = None
    output: Column | None = None
    currency: Column | None = None


class Reconcile(Sent, frozen=True, kw_only=True):
    """invoice: CSV with a header. columns: those whose names are not known. models: their name -> ours.

    dates: what is first in dates such as 11/03/2026.
    """

    provider: Word
    month: Annotated[str, Meta(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$")]
    invoice: Annotated[str, Meta(min_length=1, max_length=8_000_000)]
    columns: InvoiceColumns = InvoiceColumns()
    models: Annotated[dict[Word, Word], Meta(max_length=1000)] = {}
    dates: Literal["day", "month"] | None = None
    format: Literal["json", "csv"] = "json"


class Reconciled(msgspec.Struct, frozen=True, kw_only=True):
    """Differences are the invoice less ours; null where the invoice does not say.

    our_input: with what was read from a cache. unpriced: calls whose cost is not in our_usd.
    """

    calls: int
    invoice_usd: str | None
    our_usd: str
    difference_usd: str | None
    invoice_input: int | None
    our_input: int
    difference_input: int | None
    invoice_output: int | None
    our_output: int
    difference_output: int | None
    unpriced: int


class ReconciledLine(Reconciled, frozen=True, kw_only=True):
    """Of one model on one day of UTC."""

    day: str
    model: str
    state: InvoiceState


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """columns: those that were read. rows: of the invoice; other_months: those that are not of this one.
    totals: those without a date and a model, which are not added up. repeated: those that are in every field
    as one before, which are.

    states: how many lines there are of each. total: of all lines, exactly.
    """

    provider: str
    month: str
    columns: dict[str, str]
    rows: int
    other_months: int
    totals: int
    repeated: int
    states: dict[InvoiceState, int]
    total: Reconciled
    data: list[ReconciledLine]


class SumView(msgspec.Struct, frozen=True, kw_only=True):
    """start: of the hour or day, Unix seconds. cost_usd: exact, as text; `unpriced` calls are not in it."""

    by: dict[str, str]
    start: int | None
    calls: int
    failed: int
    streams: int
    attempts: int
    prompt_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    images: int
    cost_usd: str
    unpriced: int
    estimated: int
    mean_ttft_ms: float | None
    mean_total_ms: float | None


class CallItems(msgspec.Struct, frozen=True, kw_only=True):
    """USD, exact, as text; together the call's cost. Each token is in one of them.

    reasoning, images: where they have prices of their own; else in input and output.
    """

    input: str
    cached: str
    cache_write: str
    output: str
    reasoning: str
    images: str
    audio: str
    searches: str


class CallView(msgspec.Struct, frozen=True, kw_only=True):
    """time: when it began, Unix seconds with fractions. cost_usd: null where no price is known.

    cache_write_1h_tokens ... search_units: null in calls of before these were kept. items: what cost_usd is
    of, by the price that price_version names; null where that was not kept, or nothing is owed.
    """

    id: str
    time: float
    key: str
    team: str
    user: str
    route: str
    model: str
    deployment: str
    provider: str
    operation: str
    status: int
    error: str
    is_stream: bool
    attempts: int
    prompt_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    images: int
    cache_write_1h_tokens: int | None
    audio_prompt_tokens: int | None
    audio_completion_tokens: int | None
    image_prompt_tokens: int | None
    image_completion_tokens: int | None
    search_units: int | None
    cost_usd: str | None
    items: CallItems | None
    price_version: str
    is_estimated: bool
    ttft_ms: float | None
    total_ms: float
    queue_ms: float
    dropped: list[str]


class ChangeView(msgspec.Struct, frozen=True, kw_only=True):
    revision: int
    time: int
    actor: str
    path: str
    old: dict[str, Any] | None
    new: dict[str, Any] | None
