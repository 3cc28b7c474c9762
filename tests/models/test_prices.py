import subprocess
import sys
from pathlib import Path

import pytest

from penstock.models import prices
from penstock.models.prices import PriceTableError, find, price_of
from penstock.providers.profiles import PROFILES
from penstock.types.money import cost_of
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


def test_a_price_is_that_of_its_row_and_says_of_when() -> None:
    found = find("gemini", "gemini-2.5-pro")
    assert found is not None
    price = price_of(found)
    assert (price.input, price.output, price.cached) == (1_250_000, 10_000_000, 125_000)
    assert price.version.startswith(f"{found.date}-")
    assert price_of(found) == price
    short, long = (cost_of(price, Usage(tokens, 1)) for tokens in (200_000, 200_001))
    assert short is not None
    assert long is not None
    assert short.total == 200_000 * 1_250_000 + 10_000_000
    assert long.total == 200_001 * 2_500_000 + 15_000_000


def test_a_table_may_price_images_by_the_piece() -> None:
    table = prices.read(HEAD + "[{model: m, input: 1, output: 2, image: 40}]}")
    assert price_of(table["v", "m"]).image == 40


def test_vectors_and_scores_have_no_output() -> None:
    for vendor, model in (("openai", "text-embedding-3-small"), ("cohere", "rerank-v3.5")):
        found = find(vendor, model)
        assert found is not None
        assert price_of(found).is_whole


def test_the_user_s_table_goes_over_ours(tmp_path: Path) -> None:
    assert prices.own(tmp_path) == {}
    (tmp_path / prices.FILE).write_text(
        HEAD.replace("vendor: v", "vendor: openai") + "[{model: gpt-5, input: 1}]}"
    )
    table = prices.load(tmp_path)
    assert find("openai", "gpt-5", table) != find("openai", "gpt-5")
    assert find("openai", "gpt-5-mini", table) == find("openai", "gpt-5-mini")


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
