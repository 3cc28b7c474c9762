"""Who waits for a deployment whose slots are full, who goes next, who is turned away. Pure: no clock, no I/O.

    a slot is free, and    the next to go is of
    ---------------------  -------------------------------------------------------------------------------
    a floor is owed        the class that is owed most of its share of the grants
    none is                the highest class that waits: system, interactive, default, bulk; or a lower one
                           that age raised so far, by one class for each `age_s` since a ticket came: what
                           was raised into a class shares there as one more tenant

    inside                 order
    ---------------------  -------------------------------------------------------------------------------
    a class                tenants by start-time fair queueing over tokens: who had least for its weight
    a tenant               preempted before, then earliest deadline or end of the longest wait, then arrival
    what was raised        classes by their oldest; in a class the fairest tenant, and its oldest

    an offer finds         and is
    ---------------------  -------------------------------------------------------------------------------
    a free slot            admitted, and charged nothing, for nothing is scarce
    slots full             admitted in the place of one of a lower class that was not `started`; that one
                           goes back to wait
    no such                waiting
    no room to wait        waiting in the place of the latest of the lowest class, else of the latest of
                           the tenant that takes most room in its own class
    no such                refused

With `Policy.headroom` a class leaves slots for the next burst of URGENT requests while any of them was heard
of lately, so that they need not wait until an answer ends: its multiple of the square root of how many of
them run, for so much the number of independent requests varies. What a floor owes is given all the same.

A floor is of grants, and of the room to wait: no class is turned away for a higher one while it has no more
than its share of `Limits.waiting`. What a floor or its age brought in is not preempted: both would be void.

Start-time fair queueing (Goyal, Vin, Cheng 1996): a tenant's tag is where its next ticket starts in virtual
time; a grant adds cost / weight to it. Virtual time is the tag last served, and who was idle starts no
earlier: no credit is saved, and the service of two tenants who always wait differs by one ticket of each at
most. Debts last as long as the scarcity: they are forgotten when a slot stays free.
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum, StrEnum
from heapq import heapify, heappop, heappush
from typing import Final

import msgspec

TENANTS_KEPT = 1024  # idle ones whose debt is remembered, per class
SLACK = 32  # entries of a heap that may be out of date before it is looked through
KEPT_FOR_S = 30.0  # after somebody urgent was heard of
MOST_HEADROOM = 0.5  # of the slots
SMOOTHING = 0.1  # of the measured time between grants: about the last twenty count


class Priority(IntEnum):
    """Classes, the highest first."""

    SYSTEM = 0
    INTERACTIVE = 1
    DEFAULT = 2
    BULK = 3


URGENT: Final = (Priority.SYSTEM, Priority.INTERACTIVE)


class Limits(msgspec.Struct, frozen=True):
    """Of what waits; what runs is bounded by the slots."""

    waiting: int = 1000
    bytes: int = 256 * 1024 * 1024
    wait_s: float = 60.0  # since the ticket's arrival


class Policy(msgspec.Struct, frozen=True):
    """
    floors: the share of grants that each class has for certain, by Priority; together at most 1.
    age_s: None: nobody is raised.
    preemptions: how often one ticket may be; 0: never.
    headroom: multiples of a standard deviation that each class leaves free, by Priority; 0: nothing.
    """

    floors: tuple[float, float, float, float] = (0.0, 0.3, 0.15, 0.05)
    age_s: float | None = 30.0
    preemptions: int = 1
    headroom: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if min(self.floors) < 0 or sum(self.floors) > 1:
            raise ValueError("floors are shares: none below 0, together at most 1")
        if min(self.headroom) < 0 or any(self.headroom[one] for one in URGENT):
            raise ValueError("headroom is never negative, and none is left by whom it is for")
        if self.age_s is not None and self.age_s <= 0:
            raise ValueError("age_s is above 0, or None")


class Ticket(msgspec.Struct, eq=False):
    """A request that wants a slot. Equal only to itself; of one Admission at a time.

    cost: tokens, estimated; `Admission.settle` puts it right.
    deadline_s: when the answer is of no use any more; it must be admitted before.
    """

    id: str
    priority: Priority
    tenant: str
    cost: float
    bytes: int
    arrival_s: float
    deadline_s: float | None = None

    # The queue's own.
    preempted: int = 0
    is_waiting: bool = False
    due_s: float = 0.0  # when it has waited too long
    charged: float = 0.0  # tokens its tenant was charged with
    account: "_Account | None" = None
    order: int = 0


class Outcome(StrEnum):
    ADMITTED = "admitted"
    WAITING = "waiting"
    REFUSED = "refused"


class Refusal(StrEnum):
    FULL = "full"  # too many wait
    BYTES = "bytes"  # too much waits
    LATE = "late"  # its time is over


class Offer(msgspec.Struct, frozen=True):
    """
    position: of one that waits: at most so many of those here now go before it, itself counted.
    preempted: was running; must stop now, and waits again.
    displaced: was waiting; is turned away.
    """

    outcome: Outcome
    position: int = 0
    refusal: Refusal | None = None
    preempted: Ticket | None = None
    displaced: Ticket | None = None


_ADMITTED: Final = Offer(Outcome.ADMITTED)
_NOBODY: Final[Sequence[Ticket]] = ()


class Admission:
    """Of one deployment; for one event loop. Times are monotonic seconds and never go back.

    Whatever frees a slot returns the tickets that have one from now on: who calls must tell them.
    """

    __slots__ = (
        "_bytes",
        "_due",
        "_grant_s",
        "_heard_s",
        "_is_scarce",
        "_last_grant_s",
        "_limits",
        "_order",
        "_overdue",
        "_policy",
        "_preemptible",
        "_queues",
        "_running",
        "_slots",
        "_urgent",
        "_waiting",
    )

    def __init__(
        self,
        slots: int,
        limits: Limits | None = None,
        policy: Policy | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        """weights: by tenant, above 0; 1 for whom it does not name. Read when a tenant comes, not copied."""
        self._slots = slots
        self._limits = limits = limits or Limits()
        self._policy = policy = policy or Policy()
        self._urgent = 0  # of those that run
        self._heard_s = -KEPT_FOR_S  # when somebody urgent came
        weights = {} if weights is None else weights
        self._running: set[Ticket] = set()
        self._preemptible: tuple[dict[Ticket, None], ...] = tuple({} for _ in Priority)  # latest grant last
        self._queues = tuple(
            _ClassQueue(floor, int(floor * limits.waiting), weights) for floor in policy.floors
        )
        self._waiting = 0
        self._bytes = 0
        self._due: list[tuple[float, int, Ticket]] = []
        self._overdue: list[Ticket] = []  # found too late by others than `expire`, which will tell
        self._order = 0
        self._is_scarce = False  # a slot was waited for since one was free
        self._grant_s: float | None = None  # smoothed time between grants while somebody waits
        self._last_grant_s = 0.0

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return self._waiting

    @property
    def waiting_bytes(self) -> int:
        return self._bytes

    def waiting_of(self, priority: Priority) -> int:
        return self._queues[priority].count

    # -- what comes in

    def offer(self, ticket: Ticket, now_s: float) -> Offer:
        """A slot that is free for a class means that nobody of it or above waits: it was given away."""
        deadline_s = ticket.deadline_s
        if ticket.priority in URGENT:
            self._heard_s = now_s
        has_room = len(self._running) < self._room(ticket.priority, now_s)
        if has_room and (deadline_s is None or deadline_s > now_s):
            ticket.charged = 0.0
            self._run(ticket)
            return _ADMITTED
        return self._offer_full(ticket, now_s)

    def _offer_full(self, ticket: Ticket, now_s: float) -> Offer:
        limits = self._limits
        due_s = ticket.arrival_s + limits.wait_s
        ticket.due_s = due_s if ticket.deadline_s is None else min(due_s, ticket.deadline_s)
        if ticket.due_s <= now_s:
            return Offer(Outcome.REFUSED, refusal=Refusal.LATE)
        self._sweep(now_s)
        victim = self._victim(ticket, now_s)
        if victim is not None:
            self._requeue(victim, now_s)
            self._run(ticket)
            return Offer(Outcome.ADMITTED, preempted=victim)
        displaced = None
        is_full = self._waiting >= limits.waiting
        if is_full or self._bytes + ticket.bytes > limits.bytes:
            displaced = self._displaceable(ticket)
            if displaced is None or self._bytes - displaced.bytes + ticket.bytes > limits.bytes:
                return Offer(Outcome.REFUSED, refusal=Refusal.FULL if is_full else Refusal.BYTES)
            self._remove(displaced)
        self._wait(ticket, now_s)
        position = sum(queue.count for queue in self._queues[: ticket.priority + 1])
        return Offer(Outcome.WAITING, position=position, displaced=displaced)

    def started(self, ticket: Ticket) -> None:
        """The first byte of its answer came: it is not preempted any more."""
        self._preemptible[ticket.priority].pop(ticket, None)

    def settle(self, ticket: Ticket, actual_tokens: float) -> None:
        """What it did cost; at any time, also after its end, and again when more is known."""
        ticket.cost = actual_tokens
        if ticket.charged and ticket.account is not None:
            more = max(1.0, actual_tokens) - ticket.charged
            ticket.charged += more
            self._queues[ticket.priority].charge(ticket.account, more)

    # -- what goes out

    def finished(self, ticket: Ticket, now_s: float) -> Sequence[Ticket]:
        """It ended, or its client left, whether it ran or waited. Of one that is not here: nothing."""
        if ticket not in self._running:
            self._drop(ticket)  # preempted, and finished all the same
            return _NOBODY
        self._running.remove(ticket)
        self._urgent -= ticket.priority in URGENT
        if self._policy.preemptions:
            self._preemptible[ticket.priority].pop(ticket, None)
        return self._fill(now_s) if self._waiting or self._is_scarce else _NOBODY

    def resize(self, slots: int, now_s: float, limits: Limits | None = None) -> Sequence[Ticket]:
        """With fewer slots, what runs goes on, and nobody is admitted until it is fewer. Who waits already
        keeps its place and its time.
        """
        self._slots = slots
        if limits is not None:
            self._limits = limits
            for queue in self._queues:
                queue.kept = int(queue.floor * limits.waiting)
        return self._fill(now_s) if self._waiting else _NOBODY

    def expire(self, now_s: float) -> list[Ticket]:
        """Those whose deadline or longest wait is over: they wait no longer."""
        self._sweep(now_s)
        expired, self._overdue = self._overdue, []
        return expired

    def next_expiry_s(self) -> float | None:
        """When `expire` has something to tell, unless things change before; None: never."""
        if self._overdue:
            return self._overdue[0].due_s
        due = self._due
        while due and not _is_current(due[0][2], due[0][1]):
            heappop(due)
        return due[0][0] if due else None

    # -- what is said of it

    def expected_wait_s(self, ticket: Ticket) -> float | None:
        """For one that waits, or would join now; None while no grant was measured.

        Those before it, times the time between grants. Before it are the higher classes; of its own, as many
        of each tenant as of its own tenant, by weight; and no more than its class's floor lets pass.
        """
        if ticket in self._running or (
            not ticket.is_waiting and len(self._running) < self._room(ticket.priority, self._heard_s)
        ):
            return 0.0
        if self._grant_s is None:
            return None
        queue = self._queues[ticket.priority]
        rank = queue.rank(ticket)
        ahead = sum(higher.count for higher in self._queues[: ticket.priority]) + rank
        if queue.floor:
            ahead = min(ahead, rank / queue.floor)
        return ahead * self._grant_s

    # -- slots

    def _run(self, ticket: Ticket, *, is_kept: bool = False) -> None:
        self._running.add(ticket)
        self._urgent += ticket.priority in URGENT
        if not is_kept and ticket.preempted < self._policy.preemptions:
            self._preemptible[ticket.priority][ticket] = None

    def _fill(self, now_s: float) -> Sequence[Ticket]:
        self._sweep(now_s)
        granted: list[Ticket] = []
        while self._waiting and len(self._running) < self._slots:
            found = self._next(now_s)
            if found is None:
                break
            ticket, is_kept = found
            self._run(ticket, is_kept=is_kept)
            granted.append(ticket)
            took_s = now_s - self._last_grant_s
            self._last_grant_s = now_s
            self._grant_s = (
                took_s if self._grant_s is None else self._grant_s + SMOOTHING * (took_s - self._grant_s)
            )
        if not self._waiting and len(self._running) < self._slots:  # nothing is scarce: all begin anew
            self._is_scarce = False
            for queue in self._queues:
                queue.forget()
        return granted

    def _room(self, priority: int, now_s: float) -> int:
        """How many slots there are for a class and those above it."""
        deviations = self._policy.headroom[priority]
        if not deviations or self._heard_s + KEPT_FOR_S <= now_s:
            return self._slots
        kept = 1 + int(deviations * self._urgent**0.5)
        return self._slots - min(kept, int(MOST_HEADROOM * self._slots))

    def _next(self, now_s: float) -> tuple[Ticket, bool] | None:
        """Who gets the slot, and whether nobody may take it away again; None: what is free is reserved."""
        owed: _ClassQueue | None = None
        for queue in self._queues:
            if queue.count:
                queue.credit += queue.floor
                if queue.credit >= 1 and (owed is None or queue.credit > owed.credit):
                    owed = queue
        if owed is not None:
            return self._granted(owed.first_ticket()), True
        level, queue = next((level, queue) for level, queue in enumerate(self._queues) if queue.count)
        if len(self._running) >= self._room(level, now_s):  # nor is there room for those below
            for waiting in self._queues:
                if waiting.count:
                    waiting.credit -= waiting.floor  # this was no grant
            return None
        raised = self._raised(level, now_s)
        if raised is not None and queue.is_turn_of_raised():
            queue.charge_raised(max(1.0, raised.cost))
            return self._granted(raised), True
        return self._granted(queue.first_ticket()), False

    def _granted(self, ticket: Ticket) -> Ticket:
        queue = self._queues[ticket.priority]
        queue.credit = max(0.0, queue.credit - 1)  # below 0, a later shortage would be paid with this plenty
        queue.advance()
        self._remove(ticket)
        ticket.charged = max(1.0, ticket.cost)
        assert ticket.account is not None  # noqa: S101 - it waited
        queue.charge(ticket.account, ticket.charged)
        return ticket

    def _raised(self, level: int, now_s: float) -> Ticket | None:
        """Of the classes below, each with its fairest tenant's oldest: the oldest that age raised so far."""
        age_s = self._policy.age_s
        if age_s is None:
            return None
        oldest: Ticket | None = None
        for classes, queue in enumerate(self._queues[level + 1 :], 1):
            if queue.count:
                ticket = queue.first_aged(now_s - age_s)
                if ticket is not None and ticket.arrival_s <= now_s - classes * age_s:
                    oldest = ticket if oldest is None or ticket.arrival_s < oldest.arrival_s else oldest
        return oldest

    # -- preemption

    def _victim(self, ticket: Ticket, now_s: float) -> Ticket | None:
        """The latest of the lowest class; it must have room and time to wait again."""
        if self._waiting >= self._limits.waiting or len(self._running) > self._slots:
            return None
        if any(queue.count for queue in self._queues[: ticket.priority + 1]):
            return None  # the ticket would overtake them
        for priority in range(Priority.BULK, ticket.priority, -1):
            if running := self._preemptible[priority]:
                victim = next(reversed(running))
                if self._bytes + victim.bytes <= self._limits.bytes and self._due_of(victim) > now_s:
                    return victim
        return None

    def _due_of(self, ticket: Ticket) -> float:
        due_s = ticket.arrival_s + self._limits.wait_s
        return due_s if ticket.deadline_s is None else min(due_s, ticket.deadline_s)

    def _requeue(self, victim: Ticket, now_s: float) -> None:
        self._running.remove(victim)
        self._urgent -= victim.priority in URGENT
        del self._preemptible[victim.priority][victim]
        victim.preempted += 1
        queue = self._queues[victim.priority]
        if victim.charged and victim.account is not None:  # it had nothing for it
            queue.charge(victim.account, -victim.charged)
            queue.credit = min(1.0, queue.credit + 1)
        victim.due_s = self._due_of(victim)
        self._wait(victim, now_s)

    # -- the room to wait

    def _wait(self, ticket: Ticket, now_s: float) -> None:
        if not self._waiting:
            self._last_grant_s = now_s  # from here on, grants are measured
        self._is_scarce = True
        self._waiting += 1
        self._bytes += ticket.bytes
        self._order += 1
        ticket.order = self._order
        ticket.charged = 0.0
        ticket.is_waiting = True
        self._queues[ticket.priority].add(ticket)
        heappush(self._due, (ticket.due_s, ticket.order, ticket))
        if len(self._due) > 2 * self._waiting + SLACK:
            self._due = [entry for entry in self._due if _is_current(entry[2], entry[1])]
            heapify(self._due)

    def _remove(self, ticket: Ticket) -> None:
        """Heaps keep what is out of date until it comes up, or is too much."""
        self._waiting -= 1
        self._bytes -= ticket.bytes
        ticket.is_waiting = False
        self._queues[ticket.priority].remove(ticket)

    def _drop(self, ticket: Ticket) -> None:
        if ticket.is_waiting:
            self._remove(ticket)
        elif ticket in self._overdue:
            self._overdue.remove(ticket)

    def _sweep(self, now_s: float) -> None:
        due = self._due
        while due and due[0][0] <= now_s:
            _, order, ticket = heappop(due)
            if _is_current(ticket, order):
                self._remove(ticket)
                self._overdue.append(ticket)

    def _displaceable(self, ticket: Ticket) -> Ticket | None:
        for queue in reversed(self._queues[ticket.priority + 1 :]):
            if queue.newest and queue.count > queue.kept:
                return next(reversed(queue.newest))
        return self._queues[ticket.priority].latest_of_largest(ticket.tenant)


def _is_current(ticket: Ticket, order: int) -> bool:
    """Whether an entry of a heap speaks of a ticket that waits, and of this time that it does."""
    return ticket.is_waiting and ticket.order == order


class _Account:
    """A tenant in a class. `tag`: where its next ticket starts in virtual time."""

    __slots__ = ("aged", "aged_turn", "count", "newest", "no_less", "queue", "tag", "turn", "weight")

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.tag = 0.0
        self.no_less = 0.0  # a refund for what is long past makes no credit
        self.count = 0
        self.queue: list[tuple[bool, float, float, int, Ticket]] = []  # never preempted, due, arrival
        self.aged: list[tuple[float, int, Ticket]] = []  # arrival
        self.newest: dict[Ticket, None] = {}  # who may be displaced, the latest last
        self.turn = 0  # which entry among the turns is not out of date
        self.aged_turn = 0

    def first(self) -> Ticket:
        queue = self.queue
        while not _is_current(queue[0][4], queue[0][3]):
            heappop(queue)
        return queue[0][4]

    def first_aged(self) -> Ticket | None:
        aged = self.aged
        while aged and not _is_current(aged[0][2], aged[0][1]):
            heappop(aged)
        return aged[0][2] if aged else None


class _ClassQueue:
    """Those of one class who wait."""

    __slots__ = (
        "_accounts",
        "_active",
        "_aged_turns",
        "_ageing",
        "_raised_tag",
        "_turn",
        "_turns",
        "_virtual",
        "_weights",
        "count",
        "credit",
        "floor",
        "kept",
        "newest",
    )

    def __init__(self, floor: float, kept: int, weights: Mapping[str, float]) -> None:
        self.floor = floor
        self.kept = kept  # places that a higher class does not take
        self.credit = 0.0  # grants that the floor owes
        self.count = 0
        self.newest: dict[Ticket, None] = {}  # who may be displaced, the latest last
        self._weights = weights
        self._accounts: dict[str, _Account] = {}
        self._active = 0  # of the accounts: those for which somebody waits
        self._virtual = 0.0
        self._raised_tag = 0.0  # of what was raised into this class
        self._turn = 0
        self._turns: list[tuple[float, int, _Account]] = []
        self._aged_turns: list[tuple[float, int, _Account]] = []
        self._ageing: list[tuple[float, int, Ticket]] = []  # arrival

    def add(self, ticket: Ticket) -> None:
        account = self._accounts.get(ticket.tenant)
        if account is None:
            if len(self._accounts) - self._active >= TENANTS_KEPT:
                self._forget_smallest()
            account = self._accounts[ticket.tenant] = _Account(self._weights.get(ticket.tenant, 1.0))
        ticket.account = account
        self.count += 1
        account.count += 1
        entry = (not ticket.preempted, ticket.due_s, ticket.arrival_s, ticket.order, ticket)
        heappush(account.queue, entry)
        heappush(self._ageing, (ticket.arrival_s, ticket.order, ticket))
        if not ticket.preempted:
            self.newest[ticket] = account.newest[ticket] = None
        if account.count == 1:
            self._active += 1
            account.tag = max(account.tag, self._virtual)
            account.no_less = self._virtual
            self._place(account)
        if len(account.queue) > 2 * account.count + SLACK:
            account.queue = [entry for entry in account.queue if _is_current(entry[4], entry[3])]
            heapify(account.queue)
        if len(self._ageing) > 2 * self.count + SLACK:
            self._ageing = [entry for entry in self._ageing if _is_current(entry[2], entry[1])]
            heapify(self._ageing)

    def remove(self, ticket: Ticket) -> None:
        account = ticket.account
        assert account is not None  # noqa: S101 - it was added
        self.newest.pop(ticket, None)
        account.newest.pop(ticket, None)
        self.count -= 1
        account.count -= 1
        if not account.count:
            self._active -= 1
            account.queue.clear()
            account.aged.clear()
        if not self.count:
            self.credit = 0.0
            self._turns.clear()
            self._aged_turns.clear()
            self._ageing.clear()

    def first_ticket(self) -> Ticket:
        return self._first_account().first()

    def first_aged(self, before_s: float) -> Ticket | None:
        """Of those who came no later than that: the fairest tenant's oldest."""
        ageing = self._ageing
        while ageing and ageing[0][0] <= before_s:
            arrival_s, order, ticket = heappop(ageing)
            account = ticket.account
            if _is_current(ticket, order) and account is not None:
                is_first = account.first_aged() is None
                heappush(account.aged, (arrival_s, order, ticket))
                if is_first:
                    self._place_aged(account)
        turns = self._aged_turns
        while turns:
            _, turn, account = turns[0]
            ticket_or_none = account.first_aged() if turn == account.aged_turn else None
            if ticket_or_none is not None:
                return ticket_or_none
            heappop(turns)
        return None

    def is_turn_of_raised(self) -> bool:
        """Whether what was raised into this class goes before its own."""
        return max(self._raised_tag, self._virtual) < self._first_account().tag

    def charge_raised(self, tokens: float) -> None:
        self._virtual = max(self._raised_tag, self._virtual)
        self._raised_tag = self._virtual + tokens

    def charge(self, account: _Account, tokens: float) -> None:
        account.tag = max(account.no_less, account.tag + tokens / account.weight)
        if account.count:
            self._place(account)
            if account.aged:
                self._place_aged(account)

    def advance(self) -> None:
        """Somebody who waits is served: virtual time is that of whose turn it is."""
        self._virtual = max(self._virtual, self._first_account().tag)

    def forget(self) -> None:
        """Nobody waits."""
        self._accounts = {}
        self._virtual = self._raised_tag = 0.0

    def rank(self, ticket: Ticket) -> float:
        """How many of this class go up to and with it, if all are of one size."""
        account = self._accounts.get(ticket.tenant)
        weight = self._weights.get(ticket.tenant, 1.0) if account is None else account.weight
        own = 1.0 if account is None else account.count + 1.0
        if ticket.is_waiting and account is not None:
            last = (not ticket.preempted, ticket.due_s, ticket.arrival_s, ticket.order)
            own = float(sum(it[:4] <= last and _is_current(it[4], it[3]) for it in account.queue))
        return own + sum(
            min(float(other.count), own * other.weight / weight)
            for other in self._accounts.values()
            if other.count and other is not account
        )

    def latest_of_largest(self, tenant: str) -> Ticket | None:
        """Of the tenant that takes most room for its weight, if that is more than this one would take."""
        own = self._accounts.get(tenant)
        weight = self._weights.get(tenant, 1.0) if own is None else own.weight
        largest, most = None, (1 if own is None else own.count + 1) / weight
        for account in self._accounts.values():
            if account is not own and account.newest and account.count / account.weight > most:
                largest, most = account, account.count / account.weight
        return None if largest is None else next(reversed(largest.newest))

    def _first_account(self) -> _Account:
        turns = self._turns
        while turns[0][1] != turns[0][2].turn or not turns[0][2].count:
            heappop(turns)
        return turns[0][2]

    def _place(self, account: _Account) -> None:
        self._turn += 1
        account.turn = self._turn
        heappush(self._turns, (account.tag, self._turn, account))
        if len(self._turns) > 2 * self._active + SLACK:
            self._turns = [(it.tag, it.turn, it) for it in self._accounts.values() if it.count]
            heapify(self._turns)

    def _place_aged(self, account: _Account) -> None:
        self._turn += 1
        account.aged_turn = self._turn
        heappush(self._aged_turns, (account.tag, self._turn, account))
        if len(self._aged_turns) > 2 * self._active + SLACK:
            self._aged_turns = [(it.tag, it.aged_turn, it) for it in self._accounts.values() if it.aged]
            heapify(self._aged_turns)

    def _forget_smallest(self) -> None:
        """Half of the idle tenants: those with the smallest debts."""
        idle = sorted(
            (tenant for tenant, account in self._accounts.items() if not account.count),
            key=lambda tenant: self._accounts[tenant].tag,
        )
        for tenant in idle[: len(idle) // 2 + 1]:
            del self._accounts[tenant]
