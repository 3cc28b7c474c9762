"""A call that has ended -> its row of usage. What is not known of its cost stays None."""

from penstock.types.call import Call
from penstock.types.usage import Usage
from penstock.types.usage_store import UsageRow

_NOTHING = Usage()
_US = 1_000_000


def usage_row(call: Call, *, ended_s: float, ended_wall_s: float) -> UsageRow:
    """ended_s: monotonic; ended_wall_s: the same moment in Unix seconds."""
    usage = call.usage or _NOTHING
    key, cost = call.key, call.cost
    last = call.attempts[-1] if call.attempts else None
    total_us = round((ended_s - call.started_s) * _US)
    return UsageRow(
        id=call.id,
        time_us=round(ended_wall_s * _US) - total_us,
        key=key.name if key is not None else "",
        team=(key.team or "") if key is not None else "",
        user=key.user if key is not None else "",
        route=call.labels.route,
        model=call.model,
        deployment=call.deployment,
        provider=last.replica.partition("#")[0] if last is not None and last.is_remote else "",
        operation=call.operation,
        status=call.status,
        error=call.error.code if call.error is not None else "",
        is_stream=call.is_stream,
        attempts=len(call.attempts),
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        completion_tokens=usage.completion_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        audio_prompt_tokens=usage.audio_prompt_tokens,
        audio_completion_tokens=usage.audio_completion_tokens,
        image_prompt_tokens=usage.image_prompt_tokens,
        image_completion_tokens=usage.image_completion_tokens,
        search_units=usage.search_units,
        cost_pico=cost.total if cost is not None else None,
        price_version=cost.version if cost is not None else "",
        is_estimated=usage.is_estimated or (cost is not None and cost.is_estimated),
        ttft_us=None
        if call.first_content_s is None
        else round((call.first_content_s - call.started_s) * _US),
        total_us=total_us,
        queue_us=round(call.queued_s * _US),
        dropped=call.dropped,
    )
