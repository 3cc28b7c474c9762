"""A provider's invoice as CSV against our usage, by day and model. Pure.

    read         CSV -> what it says of each day and model, or an InvalidRequest that names the line
    compare      that and our usage -> lines that are matched, only on the invoice, or only with us

Columns are found by names that vendors give them (_KNOWN), or by those that the caller says. What is said of
one day and model in several rows (input, output, workspaces) is added up, exactly; the sum is rounded to a
pico-USD once, half to even. Days are UTC.

A model's name is looked for among ours as it is, then without a date at its end, each in lower case with a
hyphen for what is no letter or digit: `Claude Haiku 4.5` is claude-haiku-4-5-20251001. Where two of ours
would fit, neither does.
"""

import csv
import datetime as dt
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Final, Literal, NamedTuple, TypeVar

import msgspec

from penstock.admin.bodies import InvoiceColumns, InvoiceState, Reconciled, ReconciledLine, Reconciliation
from penstock.admin.statements import plain
from penstock.types.errors import InvalidRequest
from penstock.types.money import PER_USD, format_usd, parse_usd
from penstock.types.usage_store import UsageSum

MAX_ROWS: Final = 200_000
MAX_LINES: Final = 20_000  # of days and models; more are no names of models
MAX_FIELD_CHARS: Final = 10_000
_US: Final = 1_000_000

# In lower case, of exports of OpenAI (costs, usage), Anthropic (costs, tokens), AWS (cost and usage reports).
_KNOWN: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "date": (
        *(("usage_date_utc",), ("start_time_iso",), ("start_time",), ("date",), ("day",), ("usage_date",)),
        *(("line_item_usage_start_date",), ("lineitem/usagestartdate",)),
    ),
    "model": (
        *(("model",), ("model_version",), ("model_name",), ("line_item",)),
        *(("line_item_usage_type",), ("lineitem/usagetype",)),
    ),
    "cost": (
        *(("cost_usd",), ("amount_value",), ("cost",), ("amount_usd",), ("amount",)),
        *(("line_item_unblended_cost",), ("lineitem/unblendedcost",)),
    ),
    "input": (
        *(("input_tokens",), ("prompt_tokens",)),
        (
            *("usage_input_tokens_no_cache", "usage_input_tokens_cache_write_5m"),
            *("usage_input_tokens_cache_write_1h", "usage_input_tokens_cache_read"),
        ),
    ),
    "output": (("output_tokens",), ("completion_tokens",), ("usage_output_tokens",)),
    "currency": (
        *(("amount_currency",), ("currency",), ("currency_code",), ("currency code",)),
        *(("billingcurrency",), ("billing_currency",), ("billingcurrencycode",)),
        *(("line_item_currency_code",), ("lineitem/currencycode",)),
    ),
}
_ONE_ONLY: Final = frozenset({"date", "model", "currency"})
_AMOUNT: Final = re.compile(r"[+-]?(?:[0-9]{1,30}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,2})?")
_THOUSANDS: Final = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]*)?")
_EITHER: Final = re.compile(r"[+-]?[0-9]+,[0-9]+")  # 1,234: one and a bit where fields end with semicolons
_PARENTHESES: Final = re.compile(r"\((.+)\)")  # as accountants write what is below 0
_DOLLAR: Final = re.compile(r"^([+-]?)\$ ?")
_OF_USD: Final = re.compile(r"usd|\$")
_OF_ANOTHER: Final = re.compile(
    r"[€£¥₹]|(?<![a-z])(?:aud|brl|cad|chf|cny|eur|gbp|inr|jpy|krw)(?![a-z])"
)  # in a header
_YEAR_LAST: Final = re.compile(r"([0-9]{1,2})([/.])([0-9]{1,2})\2([0-9]{4})(?:[ T].*)?")
_DATED: Final = re.compile(r"-20[0-9]{2}-?[0-9]{2}-?[0-9]{2}$")


T = TypeVar("T", int, Fraction)
First = Literal["day", "month"]


class Said(NamedTuple):
    """Of a day and model on the invoice; None: it has no such column."""

    cost: Fraction | None
    input: int | None
    output: int | None

    def __add__(self, other: "Said") -> "Said":  # type: ignore[override]  # amounts, not fields
        return Said(
            _both(self.cost, other.cost), _both(self.input, other.input), _both(self.output, other.output)
        )


def _both(one: T | None, other: T | None) -> T | None:
    return one if other is None else other if one is None else one + other


class Invoice(NamedTuple):
    """said: by day and model, as the invoice has them."""

    columns: dict[str, str]
    rows: int
    other_months: int
    said: dict[tuple[str, str], Said]
    totals: int = 0  # rows without a date and a model: not added up
    repeated: int = 0  # rows that are in every field as one before: added up all the same


class Used(NamedTuple):
    """By us, of one model on one day."""

    day: str
    model: str
    calls: int = 0
    pico: int = 0
    input: int = 0
    output: int = 0
    unpriced: int = 0

    def __add__(self, other: "Used") -> "Used":  # type: ignore[override]  # amounts, not fields
        amounts = (mine + more for mine, more in zip(self[2:], other[2:], strict=True))
        return Used(self.day, self.model, *amounts)


def used(model: str, row: UsageSum) -> Used:
    """row: of a day."""
    day = dt.datetime.fromtimestamp((row.start_us or 0) // _US, dt.UTC)
    tokens = (row.prompt_tokens, row.completion_tokens)
    return Used(f"{day:%Y-%m-%d}", model, row.calls, row.cost_pico, *tokens, row.unpriced)


# -- reading


def read(text: str, columns: InvoiceColumns, month: str, first: First | None = None) -> Invoice:
    """first: of dates such as 11/03/2026. Raises InvalidRequest."""
    text = text.removeprefix("\ufeff")
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    rows = _rows(text, delimiter)
    _, header = next(rows, (0, []))
    places = _places(header, columns)
    said: defaultdict[tuple[str, str], Said] = defaultdict(lambda: Said(None, None, None))
    _require_cost_in_usd(header, places)
    count = others = totals = repeated = 0
    seen: set[int] = set()
    for line, row in rows:
        if len(row) != len(header):
            raise _wrong(line, f"it has {len(row)} fields, and the header has {len(header)}")
        if delimiter != ",":
            _require_points(line, row, header, places)
        found = Said(
            _sum(line, row, header, places.get("cost")),
            _tokens(line, row, header, places.get("input")),
            _tokens(line, row, header, places.get("output")),
        )
        count += 1
        if count > MAX_ROWS:
            raise InvalidRequest(f"The invoice has more than {MAX_ROWS:,} rows.", param="invoice")
        if found == (None, None, None):
            continue  # a day without anything
        said_day, said_model = row[places["date"][0]], row[places["model"][0]]
        if not said_day.strip() and not said_model.strip():
            totals += 1
            continue
        day = _day(line, said_day, first)
        if not day.startswith(month):
            others += 1
            continue
        _require_usd(line, row, header, places)
        likeness = hash(tuple(row))
        repeated += likeness in seen
        seen.add(likeness)
        model = said_model.partition(", ")[0].strip()  # OpenAI: `gpt-5-mini, input`
        said[day, model] += found
        if len(said) > MAX_LINES:
            raise InvalidRequest(
                f"The invoice has more than {MAX_LINES:,} models and days; is"
                f" {_shown(header[places['model'][0]])!r} the column of its models?",
                param="columns.model",
            )
    if not said:
        what = f"; {others:,} are of other months" if others else ""
        raise InvalidRequest(f"The invoice has no row of {month}{what}.", param="invoice")
    names = {what: "+".join(header[at] for at in where) for what, where in places.items()}
    return Invoice(names, count, others, dict(said), totals, repeated)


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Each with the number of its last line; empty ones are left out."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if any(len(field) > MAX_FIELD_CHARS for field in row):
                raise _wrong(reader.line_num, f"a field has more than {MAX_FIELD_CHARS:,} characters")
            if row:
                yield reader.line_num, row
    except csv.Error as exc:
        raise _wrong(reader.line_num, f"it is no CSV: {exc}") from exc


def _places(header: Sequence[str], columns: InvoiceColumns) -> dict[str, list[int]]:
    """Which columns are read for what. Raises InvalidRequest."""
    names = [name.strip().lower() for name in header]
    found: dict[str, list[int]] = {}
    for what, known in _KNOWN.items():
        asked = getattr(columns, what)
        if asked is not None:
            wanted = (asked,) if what in _ONE_ONLY else tuple(asked.split("+"))
            found[what] = [_place(what, one.strip().lower(), names, header) for one in wanted]
            continue
        fits = next((one for one in known if set(one) <= set(names)), None)
        if fits is not None:
            found[what] = [_place(what, one, names, header) for one in fits]
    lacking = [what for what in ("date", "model") if what not in found]
    if not found.keys() & {"cost", "input", "output"}:
        lacking.append("cost")
    if lacking:
        raise InvalidRequest(
            f"The invoice has no column that is known as its {' or '.join(lacking)}: say which one it is, in"
            f" `columns`. It has: {_shown(', '.join(header))}.",
            param=f"columns.{lacking[0]}",
        )
    return found


def _place(what: str, name: str, names: Sequence[str], header: Sequence[str]) -> int:
    if names.count(name) == 1:
        return names.index(name)
    many = "several columns" if name in names else "no column"
    raise InvalidRequest(
        f"The invoice has {many} {_shown(name)!r}. It has: {_shown(', '.join(header))}.",
        param=f"columns.{what}",
    )


def _sum(
    line: int, row: Sequence[str], header: Sequence[str], places: Sequence[int] | None
) -> Fraction | None:
    """None where there is no such column, or nothing in it."""
    found = [_amount(line, header[at], row[at]) for at in places or ()]
    said = [one for one in found if one is not None]
    return sum(said, Fraction()) if said else None


def _tokens(line: int, row: Sequence[str], header: Sequence[str], places: Sequence[int] | None) -> int | None:
    found = _sum(line, row, header, places)
    if found is None or found.denominator == 1:
        return None if found is None else int(found)
    raise _wrong(line, f"`{_shown(header[(places or (0,))[0]])}` is no whole number of tokens")


def _amount(line: int, name: str, text: str) -> Fraction | None:
    said = _bare(text)
    if not said:
        return None
    if _THOUSANDS.fullmatch(said):
        said = said.replace(",", "")
    if not _AMOUNT.fullmatch(said):
        raise _wrong(line, f"`{_shown(name)}` is {_shown(text)!r}, which is no number")
    return Fraction(said)


def _bare(text: str) -> str:
    """Without a dollar sign, and with a sign where it is in parentheses."""
    said = text.strip()
    if found := _PARENTHESES.fullmatch(said):
        said = f"-{found[1]}"
    return _DOLLAR.sub(r"\1", said)


def _require_points(
    line: int, row: Sequence[str], header: Sequence[str], places: Mapping[str, Sequence[int]]
) -> None:
    """Where a comma may be a decimal point, or not, an amount must not have it alone."""
    for at in (at for what in ("cost", "input", "output") for at in places.get(what, ())):
        if _EITHER.fullmatch(_bare(row[at])):
            raise _wrong(line, f"`{_shown(header[at])}` is {_shown(row[at])!r}: write decimals with a point")


def _day(line: int, text: str, first: First | None) -> str:
    said = text.strip()
    if found := _YEAR_LAST.fullmatch(said):
        one, mark, other, year = found.groups()
        if mark == ".":
            first = "day"
        if first is None:
            raise _wrong(line, f"its date is {_shown(text)!r}: say in `dates` whether day or month is first")
        said = f"{year}-{one:0>2}-{other:0>2}" if first == "month" else f"{year}-{other:0>2}-{one:0>2}"
    try:
        if re.fullmatch(r"[0-9]{9,11}", said):
            moment = dt.datetime.fromtimestamp(int(said), dt.UTC)
        else:
            moment = dt.datetime.fromisoformat(said.removesuffix(" UTC").replace("/", "-"))
            moment = moment.replace(tzinfo=moment.tzinfo or dt.UTC).astimezone(dt.UTC)
    except (ValueError, OverflowError) as exc:
        raise _wrong(
            line, f"its date is {_shown(text)!r}, which is no date, RFC 3339 or Unix seconds"
        ) from exc
    return f"{moment:%Y-%m-%d}"


def _require_cost_in_usd(header: Sequence[str], places: Mapping[str, Sequence[int]]) -> None:
    for at in places.get("cost", ()):
        if _OF_ANOTHER.search(header[at].lower()):
            raise InvalidRequest(
                f"The column {_shown(header[at])!r} is of another currency; costs here are in USD.",
                param="columns.cost",
            )


def _require_usd(
    line: int, row: Sequence[str], header: Sequence[str], places: Mapping[str, Sequence[int]]
) -> None:
    """A column that says that it is of USD is believed: the currency beside it is that of another."""
    if not places.keys() >= {"cost", "currency"}:
        return
    if all(_OF_USD.search(header[at].lower()) for at in places["cost"]):
        return
    said = row[places["currency"][0]].strip()
    if said.lower() not in {"", "usd", "$"}:
        raise _wrong(line, f"its currency is {_shown(said)!r}; costs here are in USD")


def _wrong(line: int, what: str) -> InvalidRequest:
    return InvalidRequest(f"Line {line} of the invoice: {what}.", param="invoice")


def _shown(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}..."


# -- comparing


def compare(
    theirs: Invoice, ours: Iterable[Used], models: Mapping[str, str], *, provider: str, month: str
) -> Reconciliation:
    """models: their name -> ours, where they are not found."""
    with_us: dict[tuple[str, str], Used] = {}
    for one in ours:
        place = (one.day, one.model)
        with_us[place] = one if place not in with_us else with_us[place] + one
    names = _Names({model for _, model in with_us})
    nothing = Said(
        Fraction() if "cost" in theirs.columns else None,
        0 if "input" in theirs.columns else None,
        0 if "output" in theirs.columns else None,
    )
    on_invoice: defaultdict[tuple[str, str], Said] = defaultdict(lambda: nothing)
    for (day, model), said in theirs.said.items():
        on_invoice[day, models.get(model) or names.ours(model)] += said
    states: dict[InvoiceState, int] = {"matched": 0, "invoice_only": 0, "ours_only": 0}
    lines: list[ReconciledLine] = []
    for place in sorted(on_invoice.keys() | with_us.keys()):
        state: InvoiceState = (
            "ours_only" if place not in on_invoice else "matched" if place in with_us else "invoice_only"
        )
        states[state] += 1
        lines.append(_line(place, state, on_invoice.get(place, nothing), with_us.get(place, Used(*place))))
    return Reconciliation(
        provider=provider,
        month=month,
        columns=theirs.columns,
        rows=theirs.rows,
        other_months=theirs.other_months,
        totals=theirs.totals,
        repeated=theirs.repeated,
        states=states,
        total=_total(lines),
        data=lines,
    )


class _Names:
    """Ours, to be found by theirs."""

    def __init__(self, ours: Iterable[str]) -> None:
        self._whole: defaultdict[str, set[str]] = defaultdict(set)
        self._undated: defaultdict[str, set[str]] = defaultdict(set)
        for name in ours:
            slug = _slug(name)
            self._whole[slug].add(name)
            self._undated[_DATED.sub("", slug)].add(name)

    def ours(self, theirs: str) -> str:
        """`theirs` where none of ours, or more than one, fits."""
        slug = _slug(theirs)
        for fits in (self._whole.get(slug), self._undated.get(_DATED.sub("", slug))):
            if fits is not None and len(fits) == 1:
                return next(iter(fits))
        return theirs


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _line(place: tuple[str, str], state: InvoiceState, said: Said, ours: Used) -> ReconciledLine:
    pico = None if said.cost is None else round(said.cost * PER_USD)
    return ReconciledLine(
        day=place[0],
        model=place[1],
        state=state,
        calls=ours.calls,
        invoice_usd=None if pico is None else format_usd(pico),
        our_usd=format_usd(ours.pico),
        difference_usd=None if pico is None else format_usd(pico - ours.pico),
        invoice_input=said.input,
        our_input=ours.input,
        difference_input=None if said.input is None else said.input - ours.input,
        invoice_output=said.output,
        our_output=ours.output,
        difference_output=None if said.output is None else said.output - ours.output,
        unpriced=ours.unpriced,
    )


def _total(lines: Sequence[ReconciledLine]) -> Reconciled:
    """Exactly what the lines add up to. An invoice says of all lines what it says of one."""

    def sum_of(name: str) -> int | str | None:
        values = [getattr(line, name) for line in lines]
        if None in values:
            return None
        return format_usd(sum(map(parse_usd, values))) if name.endswith("_usd") else sum(values)

    return msgspec.convert({name: sum_of(name) for name in Reconciled.__struct_fields__}, Reconciled)


def as_csv(found: Reconciliation) -> str:
    """One row for each line; a spreadsheet makes the totals."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    columns = ("day", "model", "state", *Reconciled.__struct_fields__)
    writer.writerow(["provider", *columns])
    for line in found.data:
        writer.writerow(map(plain, (found.provider, *(getattr(line, name) for name in columns))))
    return text.getvalue()
