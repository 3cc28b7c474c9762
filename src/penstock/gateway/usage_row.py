"""A call that has ended -> its row of usage. What is not known of its cost stays None."""

from penstock.types.call import Call
from penstock.types.identity import VirtualKey
from penstock.types.money import Price
from penstock.types.usage import Usage
from penstock.types.usage_store import UsageRow

_NOTHING = Usage()
_US = 1_000_000


def usage_row(call: Call, key: VirtualKey, *, ended_s: float, ended_wall_s: float) -> UsageRow:
    """ended_s: monotonic; ended_wall_s: the same moment in Unix seconds."""
    usage = call.usage or _NOTHING
    cost = call.cost
    total_us = round((ended_s - call.started_s) * _US)
    return UsageRow(  # by place: by name msgspec takes 2 us longer
        call.id,
        round(ended_wall_s * _US) - total_us,  # time_us
        key.name,
        key.team or "",
        key.user,
        call.labels.route,
        call.model,
        call.deployment,
        _provider(call),
        call.operation,
        call.status,
        call.error.code if call.error is not None else "",
        call.is_stream,
        len(call.attempts),
        usage.prompt_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.completion_tokens,
        usage.reasoning_tokens,
        usage.images,
        usage.cache_write_1h_tokens,
        usage.audio_prompt_tokens,
        usage.audio_completion_tokens,
        usage.image_prompt_tokens,
        usage.image_completion_tokens,
        usage.search_units,
        cost.total if cost is not None else None,  # cost_pico
        cost.version if cost is not None else "",  # price_version
        usage.is_estimated or (cost is not None and cost.is_estimated),
        None
        if call.first_content_s is None
        else round((call.first_content_s - call.started_s) * _US),  # ttft_us
        total_us,
        round(call.queued_s * _US),  # queue_us
        call.dropped,
        _price(call) if cost is not None and cost.version else None,
    )


def _price(call: Call) -> Price | None:
    return next((attempt.price for attempt in call.attempts if attempt.is_told), None)


def _provider(call: Call) -> str:
    """Of who answered: a hedge that lost, or a better model that failed, may have been asked after it."""
    for attempt in reversed(call.attempts):
        if attempt.deployment == call.deployment:
            return attempt.replica.partition("#")[0] if attempt.is_remote else ""
    return ""
