"""What happened to a ledger, from the logs of its callers, and whether that was right.

It knows the limits, and nothing of slices, leases or stores: only who was granted what between which moments,
and what was booked in the end. What may have happened within a window is not held against the ledger; only
what surely did.

    each limit              the store never granted more of it than its amount, in any window of that length
    local shares            no share of a process granted more than its part
    budget                  never spent beyond, but for what calls took beyond their reservations
    all that is booked      lies between the least and the most that the calls say; nothing is reserved
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from ledger_worker import OPEN, OWN, PICO, REQUESTS, SHARED, SLOTS, TOKENS, TTL_S, A, B, O, P, S, T, claims

from penstock.types.ledger import Row


@dataclass
class Part:
    """A reservation or an extension: from when until when it was asked for; None: nobody heard the answer."""

    start_s: float
    amount: int
    end_s: float | None = None
    by: int = 0  # the store, or a share
    is_refused: bool = False


@dataclass
class Call:
    process: str
    claims: list[int]
    parts: list[Part] = field(default_factory=list)
    ends_s: float | None = None
    actual: int | None = None
    is_settled: bool = False
    is_told: bool = False
    last_s: float = 0.0  # when its process was last heard of

    @property
    def first(self) -> Part:
        return self.parts[0]

    @property
    def is_admitted(self) -> bool:
        return self.first.end_s is not None

    def net(self) -> list[tuple[Part, int]]:
        """Of each part what it holds for certain: never more than was reserved, nor than was used."""
        granted = [part for part in self.parts if part.end_s is not None]
        left = sum(part.amount for part in granted) if self.actual is None else self.actual
        held = []
        for part in self.parts:
            if not part.is_refused:
                taken = min(left, part.amount)
                left -= taken
                if part in granted:
                    held.append((part, taken))
        return held

    def bounds(self, *, is_asked: bool) -> tuple[int, int]:
        """The least and the most that may be booked for it when all is over.

        is_asked: extensions that were granted, were so by the store.
        """
        if self.is_told:
            booked = self.actual or 0  # nothing yet of one that a share admitted and that runs
            return booked, booked
        most = sum(part.amount for part in self.parts if not part.is_refused)
        if not self.is_admitted:
            return 0, most
        known = self.parts if is_asked else self.parts[:1]
        least = 0 if self.first.by else sum(part.amount for part in known if part.end_s is not None)
        if self.actual is None:
            return least, most
        again = self.first.amount if self.first.by else 0  # the store may have granted it, too, unheard
        return min(self.actual, least), max(self.actual, most) + again


@dataclass
class History:
    calls: list[Call]
    processes: list[str]
    left: list[list[int]]  # of processes with a ledger of their own


def read(folder: Path) -> History:
    calls: list[Call] = []
    left: list[list[int]] = []
    logs = sorted(folder.glob("*.log"))
    for log in logs:
        mine: dict[str, Call] = {}
        last_s = 0.0
        for line in log.read_bytes().splitlines():
            match msgspec.json.decode(line):
                case ["ask", call, part, last_s, which, amount]:
                    if part == 0:
                        mine[call] = Call(log.stem, which)
                    mine[call].parts.append(Part(last_s, amount))
                case ["got", call, part, last_s, by]:
                    mine[call].parts[part].end_s = last_s
                    mine[call].parts[part].by = by
                case ["refused", call, part]:
                    mine[call].parts[part].is_refused = True
                    mine[call].is_settled |= part == 0
                case ["lost", call, 0]:
                    mine[call].is_settled = True
                case ["ends", call, last_s, amount]:
                    mine[call].ends_s, mine[call].actual, mine[call].is_told = last_s, amount, False
                case ["settled", call]:
                    mine[call].is_settled = True
                case ["told"]:
                    for one in mine.values():
                        one.is_told |= one.is_settled or one.first.by > 0
                case ["left", *sums]:
                    left.append(sums)
        for one in mine.values():
            one.last_s = last_s
        calls += mine.values()
    return History(calls, [log.stem for log in logs], left)


Granted = list[tuple[float, float, int]]  # asked for, heard of, how much


def most_within(window_s: float, granted: Granted) -> int:
    """The most that was asked for and granted within any window."""
    granted = sorted(granted)
    starts = [start_s for start_s, _, _ in granted]
    most = 0
    for number, first_s in enumerate(starts):
        end = bisect_right(starts, first_s + window_s)
        within = granted[number:end]
        most = max(most, sum(amount for _, end_s, amount in within if end_s <= first_s + window_s))
    return most


def most_at_once(spans: Iterable[tuple[float, float]]) -> int:
    spans = [(start_s, end_s) for start_s, end_s in spans if end_s > start_s]
    steps = sorted([(start_s, 1) for start_s, _ in spans] + [(end_s, -1) for _, end_s in spans])
    most = now = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most


@dataclass
class Finding:
    what: str
    least: int
    seen: int
    most: int

    @property
    def is_right(self) -> bool:
        return self.least <= self.seen <= self.most


class Judge:
    """`lives`: each process has limits of its own (memory); else all share them."""

    def __init__(self, history: History, *, replicas: int, budget: int, lives: bool) -> None:
        self._calls = [call for call in history.calls if call.is_admitted]
        self._history = history
        self._replicas = replicas
        self._budget = budget
        self._lives = lives

    def limits(self) -> list[Finding]:
        return [
            self._rate("requests of key a within 1 s", A, 1.0, REQUESTS),
            self._rate("requests of user s within 1 s, by the store", S, 1.0, SHARED),
            self._rate("requests of route o within 1 s, by the store", O, 1.0, OPEN),
            self._rate("tokens of team t within 2 s", T, 2.0, TOKENS),
            self._slots(),
            self._share(),
            self._spent(),
        ]

    def _groups(self, calls: Iterable[Call]) -> list[list[Call]]:
        groups: dict[str, list[Call]] = {}
        for call in calls:
            groups.setdefault(call.process if self._lives else "", []).append(call)
        return [*groups.values()]

    def _rate(self, what: str, claim: int, window_s: float, limit: int) -> Finding:
        most = 0
        for calls in self._groups(call for call in self._calls if claim in call.claims):
            granted = [
                (part.start_s, part.end_s, taken if claim == T else 1)
                for call in calls
                for part, taken in (call.net() if claim == T else [(call.first, 1)])
                if part.by == 0 and part.end_s is not None
            ]
            most = max(most, most_within(window_s, granted))
        return Finding(what, 0, most, limit)

    def _slots(self) -> Finding:
        """A lease is certain for as long as it lasts by itself."""
        most = 0
        for calls in self._groups(call for call in self._calls if B in call.claims):
            spans = [
                (call.first.end_s or 0.0, min(call.ends_s or call.last_s, call.first.start_s + TTL_S))
                for call in calls
            ]
            most = max(most, most_at_once(spans))
        return Finding("calls of key b at once", 0, most, SLOTS)

    def _share(self) -> Finding:
        """While the store is down; a process has a new share after each time."""
        of_share: dict[tuple[str, int], Granted] = {}
        for call in self._calls:
            if S in call.claims and call.first.by and call.first.end_s is not None:
                granted = of_share.setdefault((call.process, call.first.by), [])
                granted.append((call.first.start_s, call.first.end_s, 1))
        most = max((most_within(1.0, granted) for granted in of_share.values()), default=0)
        return Finding("requests of user s within 1 s, by one share", 0, most, SHARED // self._replicas)

    def _spent(self) -> Finding:
        spent = sum(taken for call in self._calls if P in call.claims for _, taken in call.net())
        return Finding("tokens that user p paid, of those reserved", 0, spent, self._budget)

    def booked(self, rows: Sequence[Row], *, is_asked: bool, forfeited: int) -> list[Finding]:
        """At the end, when all leases and rolling windows are over. `forfeited`: of blocks, in PICO."""
        findings = [
            Finding("reserved when all leases are over", 0, sum(row.reserved for row in rows), 0),
            Finding(
                "used in windows that are over",
                *(0, sum(row.used for row in rows if row.limit.window != "total"), 0),
            ),
        ]
        scopes = [claim.scope for claim in claims(self._budget)][:OWN]
        own = []
        for row in rows:
            if row.limit.window != "total" or (self._lives and row.limit.resource != "pico_usd"):
                continue
            is_own = row.scope not in scopes
            bounds = [
                call.bounds(is_asked=is_asked)
                for call in self._history.calls
                if (call.process == row.scope.id if is_own else scopes.index(row.scope) in call.claims)
            ]
            unit = PICO if row.limit.resource == "pico_usd" else 1
            least, most = (sum(side) * unit for side in zip((0, 0), *bounds, strict=True))
            what = f"{row.limit.resource} booked for {row.scope.kind} {row.scope.id}"
            finding = Finding(what, least, row.used, most + forfeited)
            (own if is_own else findings).append(finding)
        if own:
            findings += [one for one in own if not one.is_right]
            exact = sum(one.least == one.most for one in own)
            findings.append(Finding("processes of which each token is known", 0, exact, len(own)))
        for reserved, used, _ in self._history.left:
            findings.append(Finding("reserved in the ledger of a process", 0, reserved, 0))
            findings.append(Finding("used there in windows that are over", 0, used, 0))
        return findings
