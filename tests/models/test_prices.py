import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.models import prices
from penstock.models.prices import ModelFacts, PriceTableError, Row, Tier, cost, find
from penstock.providers.profiles import PROFILES
from penstock.types.usage import Usage

OTHERS = {"voyage"}  # priced, without a profile of its own yet

MOST_USED = [
    *(
        ("openai", f"gpt-{name}")
        for name in ("5", "5-mini", "5-nano", "5.5", "4o", "4o-mini", "4.1", "4.1-mini")
    ),
    *(("openai", name) for name in ("o3", "o4-mini")),
    *(("anthropic", f"claude-{name}") for name in ("opus-5", "sonnet-4-6", "sonnet-4-5", "haiku-4-5")),
    *(("gemini", f"gemini-{name}") for name in ("2.5-pro", "2.5-flash", "3.1-pro-preview", "3.5-flash")),
    ("mistral", "mistral-small-2603"),
    ("moonshot", "kimi-k2.6"),
]
COUNTS = st.integers(0, 10**7)
PRICES = st.none() | st.integers(0, 10**9)
ROWS = st.builds(
    Row,
    model=st.just("m"),
    input=st.integers(0, 10**9),
    output=st.integers(0, 10**9),
    cached=PRICES,
    cache_write=PRICES,
    cache_write_1h=PRICES,
    reasoning_output=PRICES,
    audio_input=PRICES,
    audio_output=PRICES,
)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    plain, cached, written, heard = (draw(COUNTS) for _ in range(4))
    said, spoken = draw(COUNTS), draw(COUNTS)
    hour = draw(st.integers(0, written))
    return Usage(
        plain + cached + written + heard,
        said + spoken,
        cached,
        draw(st.integers(0, said)),
        cache_write_tokens=written,
        audio_prompt_tokens=heard,
        audio_completion_tokens=spoken,
        cache_write_1h_tokens=hour,
    )


def facts(row: Row) -> ModelFacts:
    return ModelFacts("v", row, "https://x", "2026-01-01")


def test_the_table_is_whole() -> None:
    table = prices.builtin()
    rows = {id(one.row): one for one in table.values()}.values()
    assert len(rows) >= 150
    for one in rows:
        assert one.source.startswith("https://")
        assert one.date
        assert one.vendor in PROFILES or one.vendor in OTHERS
        assert any(price is not None for price in (one.row.input, one.row.output, one.row.query))


def test_a_vendor_s_part_is_the_same_table() -> None:
    parts = [prices.builtin_of(vendor) for vendor in {vendor for vendor, _ in prices.builtin()}]
    assert {key: facts for part in parts for key, facts in part.items()} == prices.builtin()
    assert prices.builtin_of("nobody") == {}


def test_the_models_that_are_used_most_are_confirmed_and_whole() -> None:
    for vendor, model in MOST_USED:
        found = find(vendor, model)
        assert found is not None, model
        row = found.row
        assert row.confirmed, model
        assert row.context, model
        assert row.max_output, model
        assert "tools" in row.can, model
        assert (row.cached or 0) < (row.input or 0) < (row.output or 0), model


@pytest.mark.parametrize(
    ("vendor", "name", "model"),
    [
        ("openai", "gpt-4o-mini", "gpt-4o-mini"),
        ("openai", "gpt-5-mini-2025-08-07", "gpt-5-mini"),
        ("anthropic", "claude-haiku-4-5-20251001", "claude-haiku-4-5-20251001"),
        ("anthropic", "claude-haiku-4-5-20991231", "claude-haiku-4-5"),
        ("gemini", "models/gemini-2.5-pro", "gemini-2.5-pro"),
        (
            "bedrock",
            "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "au.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        ("fireworks", "accounts/fireworks/models/gpt-oss-120b", "gpt-oss-120b"),
        ("azure", "gpt-4o", "gpt-4o"),
    ],
)
def test_a_model_is_found_by_the_names_it_goes_by(vendor: str, name: str, model: str) -> None:
    found = find(vendor, name)
    assert found is not None
    assert found.row.model == model


@pytest.mark.parametrize("name", ["gpt-4o-mini-but-other", "gpt-4o-mini-1234", "gpt", "", "claude-haiku-4-5"])
def test_nothing_is_guessed(name: str) -> None:
    assert find("openai", name) is None


@given(ROWS, usages())
def test_every_token_is_billed_once_at_its_own_price(row: Row, usage: Usage) -> None:
    heard, spoken = usage.audio_prompt_tokens, usage.audio_completion_tokens
    plain = usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens - heard
    thought = 0 if row.reasoning_output is None else usage.reasoning_tokens
    parts = [
        (plain, row.input),
        (usage.cached_tokens, row.cached),
        (usage.cache_write_tokens - usage.cache_write_1h_tokens, row.cache_write),
        (usage.cache_write_1h_tokens, row.cache_write_1h),
        (heard, row.audio_input),
        (usage.completion_tokens - spoken - thought, row.output),
        (thought, row.reasoning_output),
        (spoken, row.audio_output),
    ]
    if any(tokens and price is None for tokens, price in parts):
        assert cost(facts(row), usage) is None  # not known, and not guessed
    else:
        assert cost(facts(row), usage) == sum(tokens * (price or 0) for tokens, price in parts)


def test_what_was_heard_from_a_cache_is_billed_once() -> None:
    row = Row(model="m", input=10, cached=1, audio_input=100, output=0)
    assert cost(facts(row), Usage(100, 0, 80, audio_prompt_tokens=50)) == 80 * 1 + 20 * 100


@given(ROWS, usages(), usages())
def test_cost_is_linear(row: Row, one: Usage, other: Usage) -> None:
    both = Usage(
        one.prompt_tokens + other.prompt_tokens,
        one.completion_tokens + other.completion_tokens,
        one.cached_tokens + other.cached_tokens,
        one.reasoning_tokens + other.reasoning_tokens,
        cache_write_tokens=one.cache_write_tokens + other.cache_write_tokens,
        audio_prompt_tokens=one.audio_prompt_tokens + other.audio_prompt_tokens,
        audio_completion_tokens=one.audio_completion_tokens + other.audio_completion_tokens,
        cache_write_1h_tokens=one.cache_write_1h_tokens + other.cache_write_1h_tokens,
    )
    parts = (cost(facts(row), one), cost(facts(row), other))
    assert cost(facts(row), both) == (None if None in parts else sum(part or 0 for part in parts))


def test_what_is_not_known_is_not_zero() -> None:
    row = Row(model="m", input=1_000_000)
    assert cost(facts(row), Usage(10, 0)) == 10_000_000
    assert cost(facts(row), Usage(10, 1)) is None


def test_a_long_prompt_is_billed_whole_at_its_tier() -> None:
    tier = Tier(above_input_tokens=200_000, input=2_500_000, output=15_000_000)
    row = Row(model="m", input=1_250_000, output=10_000_000, cached=125_000, tiers=(tier,))
    assert cost(facts(row), Usage(200_000, 1)) == 200_000 * 1_250_000 + 10_000_000
    assert cost(facts(row), Usage(200_001, 1)) == 200_001 * 2_500_000 + 15_000_000
    assert cost(facts(row), Usage(200_001, 0, 1)) == 200_000 * 2_500_000 + 125_000


HEAD = "- {vendor: v, source: 'https://x', date: 2026-01-01, models: "


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "no price table"),
        ("3", "array"),
        (HEAD + "[{model: a, input: 1, price: 2}]}", "price"),
        (HEAD + "[{model: a, input: -1}]}", ">= 0"),
        (HEAD + "[{model: a, input: 1.5}]}", "int"),
        (HEAD + "[{model: a, input: 1}, {model: b, aliases: [a], input: 1}]}", "priced twice"),
        ("- {vendor: v, source: x, date: 2026-01-01, models: [{model: a}]}", "source"),
    ],
)
def test_a_bad_table_is_refused_with_its_path(text: str, words: str) -> None:
    with pytest.raises(PriceTableError, match=words):
        prices.read(text)


def test_starting_the_command_line_reads_no_table() -> None:
    code = "import sys, penstock.cli; penstock.cli.main; sys.exit('penstock.models.prices' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
