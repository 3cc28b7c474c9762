"""The end of every call: metrics and one log line. Later also leases, cost and audit.

`account` runs exactly once per call, whatever raised where; it never raises itself and never waits.
"""

import structlog

from penstock.telemetry.metrics import Metrics
from penstock.types.call import Call

_log = structlog.get_logger("penstock.call")


def account(call: Call, *, ended_s: float, metrics: Metrics) -> None:
    """Closes `call`."""
    if call.is_accounted:
        msg = f"call {call.id} accounted twice"
        raise AssertionError(msg)
    call.is_accounted = True
    metrics.call_ended(call, ended_s)
    usage = call.usage
    _log.info(
        "call",
        id=call.id,
        path=call.path,
        model=call.model,
        deployment=call.deployment,
        key=call.key.name if call.key else None,
        status=call.status,
        code=call.error.code if call.error else None,
        error=call.error.message if call.error else None,
        client_left=call.client_left,
        stream=call.is_stream,
        ttft_ms=_ms(call.started_s, call.first_content_s),
        total_ms=_ms(call.started_s, ended_s),
        prompt_tokens=usage.prompt_tokens if usage else None,
        completion_tokens=usage.completion_tokens if usage else None,
    )


def _ms(start_s: float, end_s: float | None) -> float | None:
    return None if end_s is None else round((end_s - start_s) * 1000, 1)
