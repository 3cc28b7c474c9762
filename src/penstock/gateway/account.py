"""The end of every call: metrics and one log line. Later also leases, cost and audit.

`account` runs exactly once per call, whatever raised where; it never raises itself and never waits.
"""

import datetime as dt
from typing import Any

from penstock.telemetry import log
from penstock.telemetry.metrics import Metrics
from penstock.types.call import Call


def account(call: Call, *, ended_s: float, metrics: Metrics) -> None:
    """Closes `call`."""
    if call.is_accounted:
        msg = f"call {call.id} accounted twice"
        raise AssertionError(msg)
    call.is_accounted = True
    metrics.call_ended(call, ended_s)
    if (write := log.calls()) is not None:
        write(_line(call, ended_s))


def _line(call: Call, ended_s: float) -> dict[str, Any]:
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
    return fields


def _ms(start_s: float, end_s: float) -> float:
    return round((end_s - start_s) * 1000, 1)
