"""The end of every call: its cost, metrics, a row of usage and one log line. Leases are settled after that.

`account` runs exactly once per call, whatever raised where, and never waits; a second time is a bug.
"""

import datetime as dt
from typing import Any

import structlog

from penstock.gateway.billing import cost_of_call, wasted
from penstock.gateway.usage_row import usage_row
from penstock.lib.clock import SystemClock
from penstock.telemetry import log
from penstock.telemetry.metrics import Metrics
from penstock.types.call import Call
from penstock.types.control import UsageSink
from penstock.types.money import PER_USD, lacking

_log = structlog.get_logger("penstock.gateway")
_CLOCK = SystemClock()


def account(call: Call, *, ended_s: float, metrics: Metrics, usage: UsageSink | None = None) -> None:
    """Closes `call`."""
    if call.is_accounted:
        msg = f"call {call.id} accounted twice"
        raise AssertionError(msg)
    call.is_accounted = True
    if call.cost is None:
        call.cost = cost_of_call(call)
        if call.cost is None and metrics.is_first_unpriced(call.deployment):
            _log.warning("cost unknown", **_unpriced(call))
    metrics.call_ended(call, ended_s)
    lost = 0
    if len(call.attempts) > 1 or call.client_left or call.error is not None:
        for attempt, pico in wasted(call):
            metrics.wasted(attempt.label, pico)
            lost += pico
    if usage is not None and call.key is not None:
        usage.write(usage_row(call, call.key, ended_s=ended_s, ended_wall_s=_CLOCK.wall()))
    if (write := log.calls()) is not None:
        write(_line(call, ended_s, lost))


def _unpriced(call: Call) -> dict[str, str]:
    told = next(attempt for attempt in call.attempts if attempt.is_told)
    if told.price is None:
        detail = "it has no price; add one under `prices.models`"
    elif told.usage is None:
        detail = "the upstream did not say what it used"
    elif kinds := lacking(told.price, told.usage):
        detail = f"its price lacks {' and '.join(kinds)}; add it under `prices.models`"
    else:
        detail = "the upstream did not say how many searches it made"
    return {"deployment": call.deployment, "id": call.id, "detail": detail}


def _line(call: Call, ended_s: float, lost: int = 0) -> dict[str, Any]:
    """What the log line says; never a prompt, an answer or a credential."""
    fields: dict[str, Any] = {
        "timestamp": dt.datetime.now(dt.UTC),
        "level": "info",
        "event": "call",
        "id": call.id,
        "path": call.path,
        "status": call.status,
    }
    if call.key is not None:
        fields["key"] = call.key.name
    if call.model:
        fields["model"] = call.model
        fields["deployment"] = call.deployment
    if call.difficulty is not None:
        fields["difficulty"] = str(call.difficulty)
    if call.error is not None:
        fields["code"] = call.error.code
        if call.error.param is not None:
            fields["param"] = call.error.param
        if call.error.detail:
            fields["detail"] = call.error.detail  # the message may quote the request; this never does
    if call.client_left:
        fields["client_left"] = True
    if call.first_content_s is not None:
        fields["ttft_ms"] = _ms(call.started_s, call.first_content_s)
    fields["total_ms"] = _ms(call.started_s, ended_s)
    if call.usage is not None:
        fields["prompt_tokens"] = call.usage.prompt_tokens
        fields["completion_tokens"] = call.usage.completion_tokens
        if call.usage.is_estimated:
            fields["usage_estimated"] = True
    if call.cost is not None and call.cost.version:
        fields["cost_usd"] = call.cost.total / PER_USD
        fields["price"] = call.cost.version
    if lost:
        fields["wasted_usd"] = lost / PER_USD
    return fields


def _ms(start_s: float, end_s: float) -> float:
    return int((end_s - start_s) * 10_000 + 0.5) / 10  # round() to a digit takes a microsecond
