import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.types.money import (
    FREE,
    PER_USD,
    Cost,
    Price,
    Prices,
    Tier,
    charge,
    charges,
    cost_of,
    format_usd,
    lacking,
    parse_usd,
    versioned,
)
from penstock.types.usage import Usage

COUNTS = st.integers(0, 10**7) | st.integers(0, 2**53)
AMOUNTS = st.integers(0, 10**9)
MAYBE = st.none() | AMOUNTS
ITEMS = ("input", "cached", "cache_write", "output", "reasoning", "image", "audio", "query")
KNOWN = st.builds(
    Price,
    **dict.fromkeys(("input", "output", "cached", "cache_write", "cache_write_1h"), AMOUNTS),
    **dict.fromkeys(("audio_input", "audio_output", "query"), AMOUNTS),
    **dict.fromkeys(("reasoning_output", "image_input", "image_output", "image"), MAYBE),
)
ANY = st.builds(
    Price,
    **dict.fromkeys(("input", "output", "cached", "cache_write", "cache_write_1h"), MAYBE),
    **dict.fromkeys(("audio_input", "audio_output", "query"), MAYBE),
    **dict.fromkeys(("reasoning_output", "image_input", "image_output", "image"), MAYBE),
)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    plain, cached, written, heard, seen = (draw(COUNTS) for _ in range(5))
    said, thought, spoken, drawn = (draw(COUNTS) for _ in range(4))
    return Usage(
        plain + cached + written + heard + seen,
        said + thought + spoken + drawn,
        cached,
        thought,
        cache_write_tokens=written,
        cache_write_1h_tokens=draw(st.integers(0, written)),
        audio_prompt_tokens=heard,
        audio_completion_tokens=spoken,
        image_prompt_tokens=seen,
        image_completion_tokens=drawn,
        search_units=draw(st.integers(1, 1000)),
        images=draw(st.integers(0, 9)) if drawn else 0,
    )


@given(ANY, usages())
def test_the_items_are_the_total(price: Price, usage: Usage) -> None:
    cost = cost_of(price, usage)
    if cost is not None:
        assert sum(getattr(cost, item) for item in ITEMS) == cost.total


@given(KNOWN, usages())
def test_every_token_is_paid_once_at_the_price_of_its_kind(price: Price, usage: Usage) -> None:
    """Counted the other way round: each kind of token by itself, in one sum."""
    heard, seen = usage.audio_prompt_tokens, usage.image_prompt_tokens
    spoken, drawn, thought = (
        usage.audio_completion_tokens,
        usage.image_completion_tokens,
        usage.reasoning_tokens,
    )
    hour = usage.cache_write_1h_tokens
    plain = usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens - heard - seen
    said = usage.completion_tokens - spoken - drawn - thought
    asked, answered = price.input or 0, price.output or 0
    expected = (
        plain * asked
        + usage.cached_tokens * (price.cached or 0)
        + (usage.cache_write_tokens - hour) * (price.cache_write or 0)
        + hour * (price.cache_write_1h or 0)
        + heard * (price.audio_input or 0)
        + seen * (asked if price.image_input is None else price.image_input)
        + said * answered
        + thought * (answered if price.reasoning_output is None else price.reasoning_output)
        + spoken * (price.audio_output or 0)
        + drawn * first(price.image_output, answered if price.image is None else 0)
        + usage.images * (price.image or 0)
        + usage.search_units * (price.query or 0)
    )
    cost = cost_of(price, usage)
    assert cost is not None
    assert cost.total == expected


def first(price: int | None, other: int) -> int:
    return other if price is None else price


@given(AMOUNTS, AMOUNTS, AMOUNTS, COUNTS, COUNTS)
def test_what_was_cached_is_paid_once(full: int, cached: int, out: int, read: int, plain: int) -> None:
    cost = cost_of(Price(input=full, output=out, cached=cached), Usage(read + plain, 0, read))
    assert cost is not None
    assert (cost.input, cost.cached, cost.total) == (
        plain * full,
        read * cached,
        plain * full + read * cached,
    )


@given(KNOWN, usages(), st.integers(0, 10**6), st.integers(0, 10**6))
def test_more_never_costs_less(price: Price, usage: Usage, prompt: int, answer: int) -> None:
    more = Usage(
        usage.prompt_tokens + prompt,
        usage.completion_tokens + answer,
        usage.cached_tokens,
        usage.reasoning_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        audio_prompt_tokens=usage.audio_prompt_tokens,
        audio_completion_tokens=usage.audio_completion_tokens,
        image_prompt_tokens=usage.image_prompt_tokens,
        image_completion_tokens=usage.image_completion_tokens,
        search_units=usage.search_units,
        images=usage.images,
    )
    less_, more_ = cost_of(price, usage), cost_of(price, more)
    assert less_ is not None
    assert more_ is not None
    assert less_.total <= more_.total


@given(usages(), usages())
def test_counts_that_contradict_each_other_are_not_paid_twice(one: Usage, other: Usage) -> None:
    """Vendors err: parts that are more than the whole take no more than the whole has."""
    wrong = Usage(
        one.prompt_tokens,
        one.completion_tokens,
        other.cached_tokens,
        other.reasoning_tokens,
        cache_write_tokens=other.cache_write_tokens,
        audio_prompt_tokens=other.audio_prompt_tokens,
        audio_completion_tokens=other.audio_completion_tokens,
    )
    flat = Price(*(1 for _ in Prices.__struct_fields__))
    cost = cost_of(flat, wrong)
    assert cost is not None
    assert cost.total == one.prompt_tokens + one.completion_tokens


def test_reasoning_is_apart_only_where_it_has_a_price() -> None:
    usage = Usage(0, 100, reasoning_tokens=40)
    assert cost_of(Price(input=1, output=2), usage) == Cost(output=200, total=200)
    assert cost_of(Price(input=1, output=2, reasoning_output=5), usage) == Cost(
        output=120, reasoning=200, total=320
    )


def test_an_image_is_paid_by_the_piece_or_by_its_tokens() -> None:
    usage = Usage(10, 1300, image_completion_tokens=1290, images=2)
    by_tokens = Price(input=1, output=2, image_output=5)
    assert cost_of(by_tokens, usage) == Cost(input=10, output=20, image=6450, total=6480)
    by_piece = Price(input=1, output=2, image=10_000)
    assert cost_of(by_piece, usage) == Cost(input=10, output=20, image=20_000, total=20_030)
    both = Price(input=1, output=2, image=10_000, image_output=5)
    assert cost_of(both, usage) == Cost(input=10, output=20, image=26_450, total=26_480)


def test_an_image_whose_tokens_nobody_told_is_not_free() -> None:
    usage = Usage(10, 20, images=1)
    assert cost_of(Price(input=1, output=2, image_output=5), usage) is None
    assert cost_of(Price(input=1), Usage(10, images=1)) is None
    assert cost_of(Price(input=1, output=2, image=7), usage) == Cost(input=10, output=40, image=7, total=57)
    assert cost_of(FREE, usage) == Cost(version="free")


def test_an_image_of_a_model_without_prices_for_tokens_is_free() -> None:
    assert cost_of(Price(input=0, output=0), Usage(10, 20, images=1)) == Cost()
    assert cost_of(Price(input=0, output=9, image_output=0), Usage(10, 2, images=1)) == Cost(
        output=18, total=18
    )


@given(ANY, usages())
def test_what_a_price_lacks_is_named(price: Price, usage: Usage) -> None:
    kinds = lacking(price, usage)
    assert bool(kinds) == (cost_of(price, usage) is None)
    assert cost_of(msgspec.structs.replace(price, **dict.fromkeys(kinds, 1)), usage) is not None


def test_what_is_not_known_is_not_zero() -> None:
    assert cost_of(Price(input=1), Usage(10, 1)) is None
    assert cost_of(Price(input=1, output=1), Usage(10, 1, 5)) is None
    assert cost_of(Price(input=0, output=0, query=2), Usage(10)) is None  # how many searches was not said
    assert cost_of(Price(input=0, output=0, query=2), Usage(10, search_units=3)) == Cost(query=6, total=6)


@given(usages())
def test_what_is_free_costs_nothing(usage: Usage) -> None:
    cost = cost_of(FREE, usage)
    assert cost is not None
    assert (cost.total, cost.version) == (0, "free")


def test_a_long_prompt_has_prices_of_its_own() -> None:
    tiers = (Tier(above_input_tokens=500, input=30), Tier(above_input_tokens=100, input=20, output=3))
    price = Price(input=10, output=2, cached=1, tiers=tiers)
    found = [cost_of(price, Usage(prompt, 1, 1)) for prompt in (100, 101, 500, 501)]
    assert [one and one.total for one in found] == [
        99 * 10 + 1 + 2,
        100 * 20 + 1 + 3,
        499 * 20 + 1 + 3,
        500 * 30 + 1 + 2,
    ]


def test_a_version_says_when_and_what() -> None:
    one = versioned(Price(input=1, output=2), "2026-11-21")
    assert one.version.startswith("2026-11-21-")
    assert versioned(one, "2026-11-21") == one
    assert versioned(Price(input=1, output=3), "2026-11-21").version != one.version


@given(st.integers() | st.integers(-(10**60), 10**60))
def test_what_is_written_is_read(pico: int) -> None:
    assert parse_usd(format_usd(pico)) == pico


@pytest.mark.parametrize(
    ("pico", "text"),
    [
        (0, "0"),
        (1, "0.000000000001"),
        (135_000_000, "0.000135"),
        (10 * PER_USD, "10"),
        (-25 * PER_USD // 10, "-2.5"),
        (10**30 * PER_USD + 1, f"1{'0' * 30}.000000000001"),
    ],
)
def test_usd_in_as_few_digits_as_it_needs(pico: int, text: str) -> None:
    assert format_usd(pico) == text


@pytest.mark.parametrize("text", ["", ".5", "1.", "1.0000000000001", "1e3", "$1", "1,5", "--1", "１"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="decimals"):
        parse_usd(text)


MARKUPS = st.integers(-10_000, 100_000)


@given(st.lists(st.integers(0, 10**15), max_size=30), MARKUPS)
def test_no_pico_is_lost_between_a_bill_and_its_parts(costs: list[int], markup: int) -> None:
    parts = charges(costs, markup)
    assert sum(parts) == charge(sum(costs), markup)
    assert all(part >= 0 for part in parts)
    assert len(parts) == len(costs)


@given(st.integers(0, 10**40), MARKUPS)
def test_a_charge_is_off_by_half_a_pico_at_most(pico: int, markup: int) -> None:
    exact = pico * (10_000 + markup)
    assert abs(charge(pico, markup) * 10_000 - exact) * 2 <= 10_000
    assert charge(pico, 0) == pico


@given(st.integers(0, 10**20), st.integers(0, 10**20), MARKUPS)
def test_who_used_more_is_charged_no_less(one: int, more: int, markup: int) -> None:
    assert charge(one, markup) <= charge(one + more, markup)


def test_half_a_pico_goes_to_even() -> None:
    assert [charge(pico, 5_000) for pico in (1, 3, 5, 7)] == [2, 4, 8, 10]
    assert charge(100, -10_000) == 0
    with pytest.raises(ValueError, match="take off more"):
        charge(100, -10_001)
