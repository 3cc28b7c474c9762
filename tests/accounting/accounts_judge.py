"""What is right, by what clients were told and upstreams sent. It knows prices, and nothing of a gateway.

of each call      its row, its line of the log, what its client was told and what its upstream said agree:
                  to the token and the pico-dollar where somebody was told, within what was sent elsewhere
of all            sums of rows = sums by hour = sums by day = the ledger's, for each key, team and route
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from accounts_books import Row
from accounts_clients import UNSAID, Told
from accounts_world import PICO, PRICES, ROUTES, Sent, Tokens

OPENAI = {"a", "b", "shaped"}  # a content event is a token


# -- one call


def wrong_with(told: Told, sent: Sequence[Sent], row: Row, line: Mapping[str, Any] | None) -> Iterator[str]:
    """In words; nothing where all is right."""
    if (row.key, row.team) != (told.key.name, told.key.team):
        yield f"its row is of {row.key}, {row.team}"
    if bool(row.is_stream) != told.is_stream:
        yield "its row takes it for another kind of answer"
    yield from _money(told, row)
    if line is not None:
        logged = (line.get("prompt_tokens", 0), line.get("completion_tokens", 0))
        if logged != (row.prompt, row.completion):
            yield f"the log says {logged}, the row {row.used}"
        if line.get("cost_usd", 0) != (row.cost or 0) / PICO:
            yield f"the log says {line.get('cost_usd')} USD, the row {row.cost}"
    if told.has_left:
        yield from _left(sent, row)
    elif told.is_whole:
        yield from _whole(told, sent, row)
    elif told.status == 200:
        yield from _broken(told, sent, row)
    else:
        if row.status != told.status:
            yield f"the client was told {told.status}, the row {row.status}"
        if row.used != Tokens() or row.cost != 0:
            yield f"nothing was told, but {row.used} and {row.cost} are booked"


def _money(told: Told, row: Row) -> Iterator[str]:
    """What a row says of money follows from what it says of tokens."""
    if row.cost is None:
        if told.door not in ("embeddings", "rerank") or row.used != Tokens():
            yield f"its cost is not known, of {row.used}"
        return
    price = PRICES.get(row.deployment)
    due = 0 if price is None else price.of(row.used) + price.query * (told.searches or 0)
    if row.cost != due and not (told.has_left and row.cost in (due, due + (price.query if price else 0))):
        yield f"{row.used} of {row.deployment!r} cost {due}, the row says {row.cost}"


def _whole(told: Told, sent: Sequence[Sent], row: Row) -> Iterator[str]:
    if row.error or row.status != 200:
        yield f"it was whole, the row says {row.status} {row.error}"
    if told.deployment not in (row.deployment, UNSAID):
        yield f"{told.deployment} answered, the row says {row.deployment}"
    yield from _told(told, row)
    if told.door == "count":
        return
    answers = [one for one in sent if one.deployment == row.deployment]
    if not answers:
        yield f"{row.deployment} knows nothing of it"
        return
    said, is_alone = answers[-1].said, answers[-1].shared == 1
    if row.is_estimated and not _ENDS_EARLY.isdisjoint(answers[-1].request.directives.found):
        said = None  # the answer was there, and its usage was not
    if said is not None and is_alone and row.used != said:
        yield f"{row.deployment} said {said}, the row {row.used}"
    if said is None and row.cost is not None and not row.is_estimated:
        yield "nobody said what was used, and the row is no estimate"
    is_counted = told.is_stream and row.deployment in OPENAI and told.door in _COUNTED
    if said is None and is_counted and row.completion != told.pieces:
        yield f"{told.pieces} pieces came, the row says {row.completion}"


_ENDS_EARLY = {"x-test-truncate", "x-test-cut"}


def _broken(told: Told, sent: Sequence[Sent], row: Row) -> Iterator[str]:
    if not row.error:
        yield f"it broke by {told.code}, the row says nothing of it"
    yield from _told(told, row)
    most = max((one.pieces for one in sent if one.deployment == row.deployment), default=0)
    if row.deployment in OPENAI and row.completion > most + 1:
        yield f"{most} tokens were sent, the row says {row.completion}"
    if row.deployment in OPENAI and told.door in _COUNTED and row.completion < told.pieces:
        yield f"{told.pieces} pieces came, the row says {row.completion}"


_COUNTED = ("chat", "completions")  # doors that hand on a piece as a piece


def _told(told: Told, row: Row) -> Iterator[str]:
    if told.tokens is not None:
        sums = (told.tokens.prompt, told.tokens.completion)
        if sums != (row.prompt, row.completion):
            yield f"the client was told {told.tokens}, the row says {row.used}"
        if told.is_whole and told.door in ("chat", "anthropic") and told.tokens.cached != row.cached:
            yield f"the client was told of {told.tokens.cached} cached tokens, the row of {row.cached}"
    if told.cost is not None and told.cost != row.cost:
        yield f"the client was told it cost {told.cost}, the row says {row.cost}"


def _left(sent: Sequence[Sent], row: Row) -> Iterator[str]:
    """Nobody knows how much it saw: no more than was sent, as far as that is counted in tokens."""
    if row.deployment not in OPENAI or not row.is_stream:
        return
    most = max((one.pieces for one in sent), default=0)
    if row.completion > most + 1:
        yield f"{most} tokens were sent, the row says {row.completion}"


# -- all of them


class Sums(NamedTuple):
    """What a scope used."""

    requests: int = 0
    tokens: int = 0
    pico: int = 0

    def __add__(self, other: "Sums") -> "Sums":  # type: ignore[override]  # sums, not fields
        return Sums(self.requests + other.requests, self.tokens + other.tokens, self.pico + other.pico)


Totals = dict[tuple[str, str], Sums]  # by kind of scope and its name


def expected(told: Told, row: Row) -> Sums:
    """What the ledger is to count of it. Where a cost is not known, what was expected of the prompt."""
    if not row.is_admitted:
        return Sums()
    pico = row.cost
    if pico is None:
        pico = told.body_bytes // 4 * ROUTES[told.route].dearest_input
    return Sums(1, row.prompt + row.completion, pico)


def book(totals: Totals, told: Told, row: Row) -> None:
    sums = expected(told, row)
    kind = "user" if told.key.is_token else "key"
    scopes = [(kind, row.key), ("route", told.route), (kind, f"{row.key} {told.route}")]
    if row.team:
        scopes.append(("team", row.team))
    for scope in scopes:
        totals[scope] = totals.get(scope, Sums()) + sums


def of_rows(rows: Iterable[Row]) -> Sums:
    found = Sums()
    for row in rows:
        found += Sums(1, row.prompt + row.completion, row.cost or 0)
    return found


def read_lines(log: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The calls of a log by their ids, and what it says of bugs and of calls told twice."""
    found: dict[str, dict[str, Any]] = {}
    wrong = []
    for text in log.read_bytes().splitlines():
        if not text.startswith(b"{"):
            if b"Traceback" in text or b"Error" in text:
                wrong.append(text.decode())
            continue
        line = msgspec.json.decode(text)
        if line["event"] == "call":
            if line["id"] in found:
                wrong.append(f"{line['id']} is in the log twice")
            found[line["id"]] = line
        elif line["level"] in ("error", "critical") or "bug" in line["event"]:
            wrong.append(text.decode()[:500])
    return found, wrong


class Lap(NamedTuple):
    """What came out of some calls."""

    calls: int
    told: Sums  # of what clients were told
    hidden: Sums  # of what they could not know
    rows: Sums
    kinds: Counter[str]
    wrong: list[str]


def judge(
    told: Sequence[Told],
    sent: Mapping[int, Sequence[Sent]],
    rows: Sequence[Row],
    lines: Mapping[str, Mapping[str, Any]] | None,
    totals: Totals,
) -> Lap:
    """Adds what is due to `totals`. Without `lines` nobody has read the log."""
    by_id: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_id[row.id].append(row)
    wrong: list[str] = []
    kinds: Counter[str] = Counter()
    known = hidden = Sums()
    for one in told:
        mine = by_id.pop(one.id, [])
        if len(mine) != 1:
            is_unheard = one.has_left and not sent.get(one.number) and one.id not in (lines or ())
            if not mine and is_unheard:
                kinds["left before they were heard"] += 1
                continue
            wrong.append(f"{one.id} has {len(mine)} rows: {one}")
            continue
        (row,) = mine
        attempts = sent.get(one.number, ())
        line = None if lines is None else lines.get(one.id)
        found = [*wrong_with(one, attempts, row, line)]
        if line is None and lines is not None:
            found.append("the log has no line of it")
        wrong += [f"{one.id}: {what}\n    {one}\n    {row}\n    {_brief(attempts)}" for what in found]
        book(totals, one, row)
        kinds[_kind(one, row)] += 1
        if one.tokens is not None and one.cost is not None:
            known += Sums(1, one.tokens.prompt + one.tokens.completion, one.cost)
        else:
            hidden += Sums(1, row.prompt + row.completion, row.cost or 0)
    wrong += [f"{name}: a row of no call" for name in by_id if name.startswith("call-")]
    return Lap(len(told), known, hidden, of_rows(rows), kinds, wrong)


def _brief(sent: Sequence[Sent]) -> str:
    return "; ".join(
        f"{one.deployment} {one.said} {one.request.directives.found} sent {one.request.events_sent}"
        for one in sent
    )


def _kind(told: Told, row: Row) -> str:
    if told.has_left:
        return "left midway"
    if told.is_whole:
        estimated = " and estimated" if row.is_estimated else ""
        return f"whole{estimated}" if row.cost is not None else "of unknown cost"
    if told.status == 200:
        return "broken midway"
    return "refused by a limit" if told.is_refused else "failed"


def differences(totals: Totals, ledger: Mapping[tuple[str, str, str], int]) -> list[str]:
    """`ledger`: used, by kind of scope, its name and resource."""
    found = []
    for (kind, name, resource), used in ledger.items():
        due = getattr(totals.get((kind, name), Sums()), resource)
        if used != due:
            found.append(f"{kind} {name}: {resource} used {used}, calls took {due}: {used - due:+}")
    return found
