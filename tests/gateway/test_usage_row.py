import pytest

from penstock.gateway.usage_row import usage_row
from penstock.types.call import Attempt, Call
from penstock.types.deployment import Labels
from penstock.types.errors import UpstreamCut
from penstock.types.identity import VirtualKey
from penstock.types.money import Cost, Price
from penstock.types.usage import Usage
from penstock.types.usage_store import UsageRow


def call() -> Call:
    return Call("req_1", "/v1/embeddings", "embedding", started_s=1.0, created=0)


def test_every_field_has_what_its_name_says() -> None:
    ended = call()
    ended.model, ended.deployment, ended.labels = "public", "gpu", Labels("route", "gpu")
    ended.status, ended.error, ended.is_stream = 200, UpstreamCut("cut"), True
    price = Price(input=1, version="v")
    told = Attempt("gpu", "corp#2", 1.0, price=price, is_told=True)
    ended.attempts = [Attempt("gpu", "up#1", 1.0, price=Price(input=9)), told]
    ended.usage = Usage(
        prompt_tokens=101,
        completion_tokens=102,
        cached_tokens=103,
        reasoning_tokens=104,
        cache_write_tokens=105,
        audio_prompt_tokens=106,
        audio_completion_tokens=107,
        cache_write_1h_tokens=108,
        image_prompt_tokens=109,
        image_completion_tokens=110,
        search_units=111,
        images=112,
    )
    ended.cost = Cost(input=7, total=8, version="v", is_estimated=True)
    ended.first_content_s, ended.queued_s, ended.dropped = 1.25, 0.125, ("seed", "user")
    row = usage_row(ended, VirtualKey("ci", team="lab", user="ann"), ended_s=1.5, ended_wall_s=100.0)
    assert row == UsageRow(
        id="req_1",
        time_us=99_500_000,
        key="ci",
        team="lab",
        user="ann",
        route="route",
        model="public",
        deployment="gpu",
        provider="corp",
        operation="embedding",
        status=200,
        error="upstream_cut",
        is_stream=True,
        attempts=2,
        prompt_tokens=101,
        completion_tokens=102,
        cached_tokens=103,
        reasoning_tokens=104,
        cache_write_tokens=105,
        audio_prompt_tokens=106,
        audio_completion_tokens=107,
        cache_write_1h_tokens=108,
        image_prompt_tokens=109,
        image_completion_tokens=110,
        search_units=111,
        images=112,
        cost_pico=8,
        price_version="v",
        is_estimated=True,
        ttft_us=250_000,
        total_us=500_000,
        queue_us=125_000,
        dropped=("seed", "user"),
        price=price,
    )


@pytest.mark.parametrize("team", [None, ""])
def test_what_is_not_known_is_said_so(team: str | None) -> None:
    row = usage_row(call(), VirtualKey("ci", team=team), ended_s=1.5, ended_wall_s=100.0)
    assert (row.cost_pico, row.ttft_us, row.team, row.error, row.provider) == (None, None, "", "", "")


def test_a_row_names_the_provider_of_who_answered() -> None:
    """The attempt that lost a race is noted after the one that won it."""
    ended = call()
    ended.deployment = "fast"
    ended.attempts = [
        Attempt("fast", "near#2", 1.0, is_told=True),
        Attempt("slow", "far", 1.0),
    ]
    row = usage_row(ended, VirtualKey("ci"), ended_s=2.0, ended_wall_s=100.0)
    assert (row.deployment, row.provider, row.attempts) == ("fast", "near", 2)
    ended.deployment = "ours"
    ended.attempts.append(Attempt("ours", "ours-1", 1.5, is_remote=False))
    assert usage_row(ended, VirtualKey("ci"), ended_s=2.0, ended_wall_s=100.0).provider == ""
    ended.deployment = "never-asked"
    assert usage_row(ended, VirtualKey("ci"), ended_s=2.0, ended_wall_s=100.0).provider == ""
