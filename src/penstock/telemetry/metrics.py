"""Prometheus metrics. Names and labels are public (docs/api.md); every label's values are bounded.

    name                                     labels
    penstock_requests_total                  operation, route, deployment, status, code
    penstock_request_duration_seconds        operation, route
    penstock_time_to_first_token_seconds     operation, route
    penstock_tokens_total                    route, deployment, kind: prompt cached completion reasoning
    penstock_cost_usd_total                  route, deployment: of what clients were told
    penstock_cost_unknown_total              route, deployment: calls whose cost is not known
    penstock_cost_wasted_usd_total           deployment: attempts that nobody was told of
    penstock_requests_in_flight              operation
    penstock_upstream_attempts_total         deployment, outcome: ok client_left outrun escalated preempted,
                                             or an error code
    penstock_batch_requests                  deployment (requests sent as one, where it batches)
    penstock_batches_refused_total           deployment (batches whose members were sent again, each alone)
    penstock_deployment_down                 deployment (1 while it is left alone; else no sample)
    penstock_breaker_state                   kind: deployment replica credential, deployment, part
                                             (0 closed, 1 half open, 2 open; what was never asked has none)
    penstock_probes_total                    deployment, outcome (ok | an error code)
    penstock_routing_decisions_total         route, replica (strategies other than weighted)
    penstock_difficulty_decisions_total      route, level: easy medium hard
    penstock_difficulty_escalations_total    route, reason: schema refusal logprob
    penstock_routing_regret_tokens_total     route: read beyond what the best was predicted to
    penstock_prefix_predicted_tokens_total   deployment: of prompts, that should be in its cache
    penstock_prefix_cached_tokens_total      deployment: that were, as its usage says
    penstock_prefix_index_blocks             -
    penstock_queue_running                   deployment
    penstock_queue_waiting                   deployment, priority
    penstock_queue_wait_seconds              deployment, priority
    penstock_queue_refused_total             deployment, priority, reason: full bytes late timeout deadline
    penstock_auth_failures_total             reason (of a closed list)
    penstock_ledger_leases                   - (calls that something is reserved for)
    penstock_ledger_refused_total            scope: key user team route deployment provider, resource
    penstock_usage_rows_total                outcome: written dropped (rows of the store, one per call)
    penstock_usage_rows_waiting              -
    penstock_replicas                        pool, state
    penstock_replica_restarts_total          pool
    penstock_build_info                      version

Route and deployment labels are configured names, `<provider>/*` for the models of a provider that serves any,
else `other`: a client cannot grow the label set by asking for new models.

Counting is a dict lookup and a few additions on the event loop, and prometheus_client is only asked at a
scrape: its own counters take a lock for each addition, ten of them a request. A scrape in its thread may see
a call half counted; the next one sees it whole. Of several workers a scrape shows the sum (sums.py), and of
the supervisor:

    penstock_workers                         - (gateway processes that are to answer)
    penstock_workers_ready                   - (those that do)
    penstock_worker_restarts_total           -
    penstock_worker_hangs_total              - (killed because they hung; they are among the restarts)
"""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from penstock.telemetry import sums
from penstock.types.call import Call
from penstock.types.money import PER_USD
from penstock.types.others import Others
from penstock.types.usage import Usage

DURATION_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
SUBJECT = "metrics"
_MOST_NAMES = 1024  # of deployments without a price that are remembered: clients name those of open providers


class PoolRow(NamedTuple):
    """One pool's replicas as the scrape shows them."""

    pool: str
    states: Mapping[str, int]
    restarts: int


class Routing(NamedTuple):
    """How good the choice of replicas is, as the scrape shows it (gateway/balance.py)."""

    decisions: Mapping[tuple[str, str], int] = {}
    regret: Mapping[str, int] = {}
    predicted: Mapping[str, int] = {}
    cached: Mapping[str, int] = {}
    blocks: int = 0
    levels: Mapping[tuple[str, str], int] = {}  # (route, level)
    escalations: Mapping[tuple[str, str], int] = {}  # (route, reason)


class LedgerRow(NamedTuple):
    leases: int = 0
    refused: Mapping[tuple[str, str], int] = {}  # (scope, resource) -> how often


class UsageCounts(NamedTuple):
    """Rows of usage."""

    written: int = 0
    dropped: int = 0
    waiting: int = 0


class BreakerRow(NamedTuple):
    """One breaker as the scrape shows it; of a credential its number, never itself."""

    kind: str
    deployment: str
    part: str
    state: str


_STATES = {"closed": 0, "half open": 1, "open": 2}


class Histogram:
    """Durations, or sizes, by bucket; the last bucket is everything longer."""

    __slots__ = ("counts", "sum")

    def __init__(self, buckets: Sequence[float] = DURATION_BUCKETS_S) -> None:
        self.counts = [0] * (len(buckets) + 1)
        self.sum = 0.0


class QueueRow(NamedTuple):
    """One deployment's queue as the scrape shows it. Classes by name."""

    deployment: str
    running: int
    waiting: Mapping[str, int]
    waits: Mapping[str, Histogram]
    refused: Mapping[tuple[str, str], int]  # (class, reason)


class Consumed:
    """By one route and deployment: tokens, and pico-USD."""

    __slots__ = ("cached", "completion", "cost", "prompt", "reasoning", "unpriced")

    def __init__(self) -> None:
        self.prompt = self.cached = self.completion = self.reasoning = 0
        self.cost = 0
        self.unpriced = 0  # calls

    def add(self, usage: Usage) -> None:
        self.prompt += usage.prompt_tokens
        self.cached += usage.cached_tokens
        self.completion += usage.completion_tokens
        self.reasoning += usage.reasoning_tokens


TOKENS = ("cached", "completion", "prompt", "reasoning")


class Series:
    """What one kind of call adds to: (operation, route, deployment, status, code)."""

    __slots__ = ("consumed", "count", "duration", "ttft")

    def __init__(self, duration: Histogram, ttft: Histogram, consumed: Consumed) -> None:
        self.count = 0
        self.duration = duration  # these three are shared with other kinds
        self.ttft = ttft
        self.consumed = consumed


class Metrics(Collector):
    """One per process. What is handed in is asked at each scrape; `down`: deployments left alone."""

    def __init__(
        self,
        version: str,
        pools: Callable[[], Iterable[PoolRow]] = tuple,
        down: Callable[[], Iterable[str]] = tuple,
        routing: Callable[[], Routing] = Routing,
        queues: Callable[[], Iterable[QueueRow]] = tuple,
        *,
        breakers: Callable[[], Iterable[BreakerRow]] = tuple,
        ledger: Callable[[], LedgerRow] = LedgerRow,
        usage: Callable[[], UsageCounts] = UsageCounts,
    ) -> None:
        self._version = version
        self._pools = pools
        self._down = down
        self._routing = routing
        self._queues = queues
        self._breakers = breakers
        self._ledger = ledger
        self._usage = usage
        self._probes: dict[tuple[str, str], int] = {}
        self._series: dict[tuple[str, str, str, int, str], Series] = {}
        self._durations: dict[tuple[str, str], Histogram] = {}
        self._ttfts: dict[tuple[str, str], Histogram] = {}
        self._consumed: dict[tuple[str, str], Consumed] = {}
        self._wasted: dict[str, int] = {}
        self._unpriced: set[str] = set()
        self._attempts: dict[tuple[str, str], int] = {}
        self._in_flight: dict[str, int] = {}
        self._batches: dict[str, Histogram] = {}
        self._refused: dict[str, int] = {}
        self._auth_failures: dict[str, int] = {}
        self._others: Others | None = None
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    @property
    def in_flight(self) -> int:
        """Calls."""
        return sum(self._in_flight.values())

    def call_started(self, call: Call) -> None:
        self._in_flight[call.operation] = self._in_flight.get(call.operation, 0) + 1

    def call_ended(self, call: Call, ended_s: float) -> None:
        operation = call.operation
        route, deployment = call.labels
        self._in_flight[operation] -= 1
        outcome = "client_left" if call.client_left else call.error.code if call.error is not None else ""
        key = (operation, route, deployment, call.status, outcome)
        series = self._series.get(key) or self._open(key)
        series.count += 1
        duration, duration_s = series.duration, ended_s - call.started_s
        duration.counts[bisect_left(DURATION_BUCKETS_S, duration_s)] += 1
        duration.sum += duration_s
        if call.first_content_s is not None:
            ttft, ttft_s = series.ttft, call.first_content_s - call.started_s
            ttft.counts[bisect_left(DURATION_BUCKETS_S, ttft_s)] += 1
            ttft.sum += ttft_s
        consumed = series.consumed
        if call.usage is not None:
            consumed.add(call.usage)
        if (cost := call.cost) is not None:
            consumed.cost += cost.total
        else:
            consumed.unpriced += 1
        for attempt in call.attempts:
            said = attempt.outcome or outcome or "ok"
            label = (attempt.label, said if attempt.error is None else attempt.error.code)
            self._attempts[label] = self._attempts.get(label, 0) + 1
            if said == "escalated" and not attempt.is_told and attempt.usage is not None:
                self._consumed.setdefault((route, attempt.label), Consumed()).add(attempt.usage)

    def wasted(self, deployment: str, pico: int) -> None:
        self._wasted[deployment] = self._wasted.get(deployment, 0) + pico

    def is_first_unpriced(self, deployment: str) -> bool:
        """Whether no call before it was to that deployment, and of unknown cost."""
        if deployment in self._unpriced or len(self._unpriced) >= _MOST_NAMES:
            return False
        self._unpriced.add(deployment)
        return True

    def batch_sent(self, deployment: str, requests: int) -> None:
        sizes = self._batches.get(deployment)
        if sizes is None:
            sizes = self._batches[deployment] = Histogram(_BATCH_BUCKETS)
        sizes.counts[bisect_left(_BATCH_BUCKETS, requests)] += 1
        sizes.sum += requests

    def batch_refused(self, deployment: str) -> None:
        self._refused[deployment] = self._refused.get(deployment, 0) + 1

    def auth_failed(self, reason: str) -> None:
        """reason: one of gateway.callers' closed list."""
        self._auth_failures[reason] = self._auth_failures.get(reason, 0) + 1

    def probe_ended(self, deployment: str, outcome: str) -> None:
        key = deployment, outcome
        self._probes[key] = self._probes.get(key, 0) + 1

    def _open(self, key: tuple[str, str, str, int, str]) -> Series:
        operation, route, deployment, _, _ = key
        made = self._series[key] = Series(
            self._durations.setdefault((operation, route), Histogram()),
            self._ttfts.setdefault((operation, route), Histogram()),
            self._consumed.setdefault((route, deployment), Consumed()),
        )
        return made

    # -- of several processes

    def join(self, others: Others) -> None:
        """A scrape asks these, too."""
        self._others = others
        others.answers(SUBJECT, self._answer)

    def leave(self) -> None:
        """Before this process ends: others go on showing what it counted."""
        if self._others is not None:
            self._others.tell(SUBJECT, self._counted())

    async def scrape(self) -> bytes:
        """The text exposition, of all processes."""
        if self._others is None:
            return await asyncio.to_thread(self.render)
        own = await asyncio.to_thread(self._counted)
        rest = await self._others.ask(SUBJECT, own)
        return await asyncio.to_thread(_together, own, *rest)

    async def _answer(self, body: bytes) -> bytes:  # noqa: ARG002 - there is one question
        return await asyncio.to_thread(self._counted)

    def _counted(self) -> bytes:
        return sums.encode(sums.families(self.collect()))

    def render(self) -> bytes:
        """The text exposition. A thousand label sets take over 100 ms: call it off the event loop."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """Asked by prometheus_client. Copies each table first: the event loop goes on counting."""
        requests = CounterMetricFamily(
            "penstock_requests",
            "Requests answered, by final status and error code",
            labels=("operation", "route", "deployment", "status", "code"),
        )
        for (operation, route, deployment, status, code), series in self._series.copy().items():
            requests.add_metric((operation, route, deployment, str(status), code), series.count)
        yield requests
        yield _histogram(
            "penstock_request_duration_seconds",
            "First byte of the request to last byte of the answer",
            self._durations.copy().items(),
        )
        yield _histogram(
            "penstock_time_to_first_token_seconds",
            "First byte of the request to first content of the answer",
            self._ttfts.copy().items(),
        )
        tokens = CounterMetricFamily(
            "penstock_tokens",
            "Tokens; cached ones are part of prompt, reasoning ones of completion",
            labels=("route", "deployment", "kind"),
        )
        for labels, consumed in self._consumed.copy().items():
            for kind in TOKENS:
                tokens.add_metric((*labels, kind), getattr(consumed, kind))
        yield tokens
        yield from self._paid()
        in_flight = GaugeMetricFamily(
            "penstock_requests_in_flight", "Requests being answered", labels=("operation",)
        )
        for operation, number in self._in_flight.copy().items():
            in_flight.add_metric((operation,), number)
        yield in_flight
        attempts = CounterMetricFamily(
            "penstock_upstream_attempts",
            "Tries at a replica or provider, by outcome",
            labels=("deployment", "outcome"),
        )
        for labels, number in self._attempts.copy().items():
            attempts.add_metric(labels, number)
        yield attempts
        yield _histogram(
            "penstock_batch_requests",
            "Embedding or rerank requests sent upstream as one",
            (((deployment,), sizes) for deployment, sizes in self._batches.copy().items()),
            labels=("deployment",),
            buckets=_BATCH_BUCKETS,
        )
        refused = CounterMetricFamily(
            "penstock_batches_refused",
            "Batches that were refused, so that their members were sent again, each alone",
            labels=("deployment",),
        )
        for deployment, number in self._refused.copy().items():
            refused.add_metric((deployment,), number)
        yield refused
        yield from self._healthy()
        failures = CounterMetricFamily(
            "penstock_auth_failures", "Requests whose caller was not let in", labels=("reason",)
        )
        for reason, number in self._auth_failures.copy().items():
            failures.add_metric((reason,), number)
        yield failures
        yield from self._routed()
        yield from self._queued()
        yield from self._limited()
        yield from self._written_down()
        yield from self._replicas()
        build = GaugeMetricFamily("penstock_build_info", "Always 1", labels=("version",))
        build.add_metric((self._version,), 1)
        yield build

    def _healthy(self) -> Iterable[Metric]:
        down = GaugeMetricFamily(
            "penstock_deployment_down", "1 while a deployment is left alone", labels=("deployment",)
        )
        for name in self._down():
            down.add_metric((name,), 1)
        yield down
        breakers = GaugeMetricFamily(
            "penstock_breaker_state", "0 closed, 1 half open, 2 open", labels=("kind", "deployment", "part")
        )
        for row in self._breakers():
            breakers.add_metric((row.kind, row.deployment, row.part), _STATES[row.state])
        yield breakers
        probes = CounterMetricFamily(
            "penstock_probes", "Small requests of our own, by outcome", labels=("deployment", "outcome")
        )
        for labels, number in self._probes.copy().items():
            probes.add_metric(labels, number)
        yield probes

    def _paid(self) -> Iterable[Metric]:
        cost = CounterMetricFamily(
            "penstock_cost_usd", "Cost of what clients were told", labels=("route", "deployment")
        )
        unknown = CounterMetricFamily(
            "penstock_cost_unknown", "Calls whose cost is not known", labels=("route", "deployment")
        )
        for labels, consumed in self._consumed.copy().items():
            cost.add_metric(labels, consumed.cost / PER_USD)
            unknown.add_metric(labels, consumed.unpriced)
        yield cost
        yield unknown
        wasted = CounterMetricFamily(
            "penstock_cost_wasted_usd",
            "Cost of attempts that nobody was told of, as far as it is known",
            labels=("deployment",),
        )
        for deployment, pico in self._wasted.copy().items():
            wasted.add_metric((deployment,), pico / PER_USD)
        yield wasted

    def _queued(self) -> Iterable[Metric]:
        rows = list(self._queues())
        running = GaugeMetricFamily(
            "penstock_queue_running", "Requests that hold a slot", labels=("deployment",)
        )
        waiting = GaugeMetricFamily(
            "penstock_queue_waiting", "Requests that wait for one", labels=("deployment", "priority")
        )
        refused = CounterMetricFamily(
            "penstock_queue_refused",
            "Requests turned away before they were sent",
            labels=("deployment", "priority", "reason"),
        )
        for row in rows:
            running.add_metric((row.deployment,), row.running)
            for priority, number in row.waiting.items():
                waiting.add_metric((row.deployment, priority), number)
            for (priority, reason), number in row.refused.items():
                refused.add_metric((row.deployment, priority, reason), number)
        yield running
        yield waiting
        yield refused
        yield _histogram(
            "penstock_queue_wait_seconds",
            "From its arrival to its slot, of what was admitted",
            (((row.deployment, name), seen) for row in rows for name, seen in row.waits.items()),
            labels=("deployment", "priority"),
        )

    def _limited(self) -> Iterable[Metric]:
        row = self._ledger()
        leases = GaugeMetricFamily("penstock_ledger_leases", "Calls that something is reserved for")
        leases.add_metric((), row.leases)
        yield leases
        refused = CounterMetricFamily(
            "penstock_ledger_refused",
            "Calls, or attempts, that a limit or budget turned away",
            labels=("scope", "resource"),
        )
        for labels, number in row.refused.items():
            refused.add_metric(labels, number)
        yield refused

    def _written_down(self) -> Iterable[Metric]:
        row = self._usage()
        rows = CounterMetricFamily("penstock_usage_rows", "Calls written to the store", labels=("outcome",))
        rows.add_metric(("written",), row.written)
        rows.add_metric(("dropped",), row.dropped)
        yield rows
        waiting = GaugeMetricFamily("penstock_usage_rows_waiting", "Calls not written to the store yet")
        waiting.add_metric((), row.waiting)
        yield waiting

    def _routed(self) -> Iterable[Metric]:
        said = self._routing()
        decisions = CounterMetricFamily(
            "penstock_routing_decisions", "Calls placed by load or prompt", labels=("route", "replica")
        )
        for labels, number in said.decisions.items():
            decisions.add_metric(labels, number)
        yield decisions
        for name, text, second, counted in (
            (
                "penstock_difficulty_decisions",
                "Requests of routes by difficulty, by the level they were judged to be",
                "level",
                said.levels,
            ),
            (
                "penstock_difficulty_escalations",
                "Answers that were not given: the request went on to a harder target",
                "reason",
                said.escalations,
            ),
        ):
            pairs = CounterMetricFamily(name, text, labels=("route", second))
            for labels, number in counted.items():
                pairs.add_metric(labels, number)
            yield pairs
        for name, text, label, table in (
            (
                "penstock_routing_regret_tokens",
                "Prompt tokens read before answers, beyond what the best candidate was predicted to read",
                "route",
                said.regret,
            ),
            (
                "penstock_prefix_predicted_tokens",
                "Prompt tokens that should have been in the replica's cache",
                "deployment",
                said.predicted,
            ),
            (
                "penstock_prefix_cached_tokens",
                "Prompt tokens that were in the replica's cache, as its usage says",
                "deployment",
                said.cached,
            ),
        ):
            family = CounterMetricFamily(name, text, labels=(label,))
            for value, number in table.items():
                family.add_metric((value,), number)
            yield family
        blocks = GaugeMetricFamily("penstock_prefix_index_blocks", "Blocks of prompts that are remembered")
        blocks.add_metric((), said.blocks)
        yield blocks

    def _replicas(self) -> Iterable[Metric]:
        """Read from their owner: no second copy that could be stale."""
        replicas = GaugeMetricFamily("penstock_replicas", "Replicas by state", labels=("pool", "state"))
        restarts = CounterMetricFamily(
            "penstock_replica_restarts", "Engine processes started again after a crash", labels=("pool",)
        )
        for row in self._pools():
            for state, count in row.states.items():
                replicas.add_metric((row.pool, state), count)
            restarts.add_metric((row.pool,), row.restarts)
        return (replicas, restarts)


def _together(*parts: bytes) -> bytes:
    return sums.text(sums.summed(sums.decode(part) for part in parts))


def _histogram(
    name: str,
    said: str,
    rows: Iterable[tuple[tuple[str, ...], Histogram]],
    *,
    labels: Sequence[str] = ("operation", "route"),
    buckets: Sequence[float] = DURATION_BUCKETS_S,
) -> Metric:
    family = HistogramMetricFamily(name, said, labels=labels)
    bounds = (*(str(float(bound)) for bound in buckets), "+Inf")
    for values, seen in rows:
        if any(seen.counts):
            counts = zip(bounds, accumulate(seen.counts), strict=True)
            family.add_metric(values, [(bound, float(count)) for bound, count in counts], seen.sum)
    return family
