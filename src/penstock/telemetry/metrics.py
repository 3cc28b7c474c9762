"""Prometheus metrics. Names and labels are public (docs/api.md); every label's values are bounded.

    name                                     labels
    penstock_requests_total                  operation, route, deployment, status, code
    penstock_request_duration_seconds        operation, route
    penstock_time_to_first_token_seconds     operation, route
    penstock_tokens_total                    route, deployment, kind: prompt cached completion reasoning
    penstock_requests_in_flight              operation
    penstock_upstream_attempts_total         deployment, outcome (ok | client_left | an error code)
    penstock_replicas                        pool, state
    penstock_replica_restarts_total          pool
    penstock_build_info                      version

Route and deployment labels are configured names, `<provider>/*` for the models of a provider that serves any,
else `other`: a client cannot grow the label set by asking for new models. Children are cached here because
`.labels()` costs four times the increment.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from penstock.types.call import Attempt, Call
from penstock.types.usage import Usage

_DURATION_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_CACHED_CHILDREN = 4096  # label combinations kept at hand; others cost one lookup more


class PoolRow(NamedTuple):
    """One pool's replicas as the scrape shows them."""

    pool: str
    states: Mapping[str, int]
    restarts: int


class Metrics:
    """One per process. `pools` is asked at each scrape."""

    def __init__(self, version: str, pools: Callable[[], Iterable[PoolRow]] = tuple) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._requests = Counter(
            "penstock_requests",
            "Requests answered, by final status and error code",
            ("operation", "route", "deployment", "status", "code"),
            registry=self.registry,
        )
        self._duration = Histogram(
            "penstock_request_duration_seconds",
            "First byte of the request to last byte of the answer",
            ("operation", "route"),
            buckets=_DURATION_BUCKETS_S,
            registry=self.registry,
        )
        self._ttft = Histogram(
            "penstock_time_to_first_token_seconds",
            "First byte of the request to first content of the answer",
            ("operation", "route"),
            buckets=_DURATION_BUCKETS_S,
            registry=self.registry,
        )
        self._tokens = Counter(
            "penstock_tokens",
            "Tokens; cached ones are part of prompt, reasoning ones of completion",
            ("route", "deployment", "kind"),
            registry=self.registry,
        )
        self._in_flight = Gauge(
            "penstock_requests_in_flight", "Requests being answered", ("operation",), registry=self.registry
        )
        self._attempts = Counter(
            "penstock_upstream_attempts",
            "Tries at a replica or provider, by outcome",
            ("deployment", "outcome"),
            registry=self.registry,
        )
        Gauge("penstock_build_info", "Always 1", ("version",), registry=self.registry).labels(version).set(1)
        self.registry.register(_Pools(pools))
        cached = lru_cache(maxsize=_CACHED_CHILDREN)
        self._requests_child = cached(self._requests.labels)
        self._duration_child = cached(self._duration.labels)
        self._ttft_child = cached(self._ttft.labels)
        self._tokens_child = cached(self._tokens.labels)
        self._in_flight_child = cached(self._in_flight.labels)
        self._attempts_child = cached(self._attempts.labels)

    def call_started(self, call: Call) -> None:
        self._in_flight_child(call.operation).inc()

    def call_ended(self, call: Call, ended_s: float) -> None:
        route, deployment = call.labels
        self._in_flight_child(call.operation).dec()
        code = "client_left" if call.client_left else call.error.code if call.error else ""
        self._requests_child(call.operation, route, deployment, str(call.status), code).inc()
        self._duration_child(call.operation, route).observe(ended_s - call.started_s)
        if call.first_content_s is not None:
            self._ttft_child(call.operation, route).observe(call.first_content_s - call.started_s)
        if call.usage is not None:
            self._count_tokens(route, deployment, call.usage)
        for attempt in call.attempts:
            self._attempts_child(deployment, _outcome(call, attempt)).inc()

    def _count_tokens(self, route: str, deployment: str, usage: Usage) -> None:
        self._tokens_child(route, deployment, "prompt").inc(usage.prompt_tokens)
        if usage.completion_tokens:
            self._tokens_child(route, deployment, "completion").inc(usage.completion_tokens)
        if usage.cached_tokens:
            self._tokens_child(route, deployment, "cached").inc(usage.cached_tokens)
        if usage.reasoning_tokens:
            self._tokens_child(route, deployment, "reasoning").inc(usage.reasoning_tokens)

    def render(self) -> bytes:
        """The text exposition. A thousand label sets take over 100 ms: call it off the event loop."""
        return generate_latest(self.registry)


def _outcome(call: Call, attempt: Attempt) -> str:
    if attempt.error is not None:
        return attempt.error.code
    if call.client_left:
        return "client_left"
    return call.error.code if call.error is not None else "ok"


class _Pools(Collector):
    """Replica states, read from their owner at scrape time: no second copy that could be stale."""

    def __init__(self, pools: Callable[[], Iterable[PoolRow]]) -> None:
        self._pools = pools

    def collect(self) -> Iterable[Metric]:
        replicas = GaugeMetricFamily("penstock_replicas", "Replicas by state", labels=("pool", "state"))
        restarts = CounterMetricFamily(
            "penstock_replica_restarts", "Engine processes started again after a crash", labels=("pool",)
        )
        for row in self._pools():
            for state, count in row.states.items():
                replicas.add_metric((row.pool, state), count)
            restarts.add_metric((row.pool,), row.restarts)
        return (replicas, restarts)
