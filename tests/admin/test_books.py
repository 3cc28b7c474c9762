"""Books that are put right: corrected prices, and invoices, through the admin API."""

import csv
import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from desk_help import CONFIG, OWNER, Office, office
from hypothesis import given
from hypothesis import strategies as st

from penstock.admin import books, invoice
from penstock.admin.bodies import InvoiceColumns
from penstock.admin.invoice import Invoice, Said, Used, compare, read
from penstock.types.errors import InvalidRequest
from penstock.types.identity import VirtualKey
from penstock.types.money import parse_usd
from penstock.types.usage_store import UsageRow

NOV_US = 1_793_491_200 * 10**6  # 2026-11-01
DAY_US = 86_400 * 10**6
PRICES = CONFIG + "prices: {models: {m: {input: $IN/1M, output: $2/1M}}}\n"


def row(seq: int, **fields: Any) -> UsageRow:
    whole = {"deployment": "m", "provider": "up", "team": "filed", "prompt_tokens": 100}
    return UsageRow("req", NOV_US + seq * DAY_US, seq=seq, **{**whole, **fields})


# -- corrected prices


async def test_a_corrected_price_goes_into_statements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "AT_ONCE_S", -1)  # each request does one batch
    async with office(tmp_path / "store.db", PRICES.replace("IN", "1")) as desk:
        price = desk.reload.deployment("m")
        assert price is not None
        assert price.price is not None
        version = price.price.version
        await desk.store.add_usage(
            [
                row(0, cost_pico=10**8, price_version=version),
                row(1),  # its price was not known
                row(2, deployment="gone", cost_pico=7, price_version="x"),
                row(3, deployment="n", cost_pico=5, price_version="x"),  # has no price
            ]
        )
    async with office(tmp_path / "store.db", PRICES.replace("IN", "3")) as desk:
        asked = {"since": "2026-11-01", "until": "2026-12-01", "dry_run": True}
        path = "/statements?month=2026-11&team=filed"
        before = await desk.see(path)
        status, dry = await desk.ask(OWNER, "POST", "/usage/rerate", asked)
        assert (status, await desk.see(path)) == (200, before)
        status, done = await desk.ask(OWNER, "POST", "/usage/rerate", {**asked, "dry_run": False})
        assert {**done, "dry_run": True} == dry
        counts = {
            "changed": 2,
            "same": 0,
            "no_price": 2,
            "no_usage": 0,
            "nothing_owed": 0,
            "were_unpriced": 1,
        }
        assert done == {
            **counts,
            "dry_run": False,
            "before_usd": "0.0001",
            "after_usd": "0.0006",
            "cursor": None,
        }
        (after,) = (await desk.see(path))["data"]
        assert (after["cost_usd"], after["unpriced"]) == ("0.000600000012", 0)
        (note,) = (await desk.see("/changes?path=usage/"))["data"]
        assert (note["actor"], note["old"]["cost_usd"]) == ("root", "0.0001")
        again = (await desk.ask(OWNER, "POST", "/usage/rerate", {"since": "2026-11-01"}))[1]
        assert (again["changed"], again["same"]) == (0, 2)
        wrong = {"since": "2026-11-02", "until": "2026-11-01"}
        assert (await desk.ask(OWNER, "POST", "/usage/rerate", wrong))[1]["param"] == "until"


# -- what vendors export

OPENAI_COSTS = """\
start_time,end_time,start_time_iso,amount_value,amount_currency,quantity,line_item,project_id
1793491200,1793577600,2026-11-01T00:00:00+00:00,0.0002500000000,usd,1,"gpt-5-mini-2025-08-07, input",p
1793491200,1793577600,2026-11-01T00:00:00+00:00,1.5e-05,usd,1,"gpt-5-mini-2025-08-07, output",p
1793577600,1793664000,2026-11-02T00:00:00+00:00,,,,,
1796083200,1796169600,2026-12-01T00:00:00+00:00,9,usd,1,gpt-5,p
"""
OPENAI_USAGE = """\
start_time,end_time,start_time_iso,end_time_iso,num_model_requests,model,input_tokens,output_tokens
1793491200,1793577600,2026-11-01T00:00:00+00:00,2026-11-02T00:00:00+00:00,2,gpt-5-mini-2025-08-07,100,5
"""
ANTHROPIC_COSTS = """\
usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,cost_type
2026-11-01,Claude Haiku 4.5,Default,k,message,≤ 200k,input_no_cache,0.05,token
2026-11-01,Claude Haiku 4.5,Default,k,message,≤ 200k,output,0.02,token
"""
ANTHROPIC_TOKENS = """\
usage_date_utc,model_version,api_key,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,\
usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens,web_search_count
2026-11-01,claude-haiku-4-5-20251001,k,1,2,3,4,5,0
"""
AWS = """\
lineItem/UsageStartDate,lineItem/UsageType,lineItem/UsageAmount,lineItem/CurrencyCode,lineItem/UnblendedCost
2026-11-01T23:00:00Z,USE1-Nova-input-tokens,12.5,USD,0.0000125
"""
SEMICOLONS = "\ufeffDay;SKU;Net;VAT;In\r\n2026-11-30;big;$1,234.50;0.5;1000\r\n\r\n"


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        (OPENAI_COSTS, {}, {("2026-11-01", "gpt-5-mini-2025-08-07"): (Fraction("0.000265"), None, None)}),
        (OPENAI_USAGE, {}, {("2026-11-01", "gpt-5-mini-2025-08-07"): (None, 100, 5)}),
        (ANTHROPIC_COSTS, {}, {("2026-11-01", "Claude Haiku 4.5"): (Fraction("0.07"), None, None)}),
        (ANTHROPIC_TOKENS, {}, {("2026-11-01", "claude-haiku-4-5-20251001"): (None, 10, 5)}),
        (AWS, {}, {("2026-11-01", "USE1-Nova-input-tokens"): (Fraction("0.0000125"), None, None)}),
        (
            SEMICOLONS,
            {"model": "sku", "cost": "Net+VAT", "input": "In"},
            {("2026-11-30", "big"): (Fraction(1235), 1000, None)},
        ),
    ],
    ids=["openai costs", "openai usage", "anthropic costs", "anthropic tokens", "aws", "any"],
)
def test_what_vendors_export_is_read(text: str, columns: dict[str, str], expected: dict[Any, Any]) -> None:
    assert read(text, InvoiceColumns(**columns), "2026-11").said == expected


AZURE = """\
date,meterName,costInBillingCurrency,billingCurrency,costInUsd
11/01/2026,gpt-5-mini,0.9,EUR,1
11/02/2026,gpt-5-mini,0.09,EUR,0.1
"""
CREDITS = """\
date,model,cost
2026/11/01,m,$1.50
03.11.2026,m,-$0.25
2026-11-03 07:00:00 UTC,m,($0.05)
2026-11-03,m,$-1
2026-11-03,m,$-1
,,0.2
"""


def test_what_other_vendors_export_is_read_as_it_is_meant() -> None:
    columns = InvoiceColumns(model="meterName", cost="costInUsd")
    found = read(AZURE, columns, "2026-11", "month").said
    assert {day: said.cost for (day, _), said in found.items()} == {
        "2026-11-01": Fraction(1),
        "2026-11-02": Fraction("0.1"),
    }
    assert list(read(AZURE, columns, "2026-02", "day").said) == [("2026-02-11", "gpt-5-mini")]


def test_credits_totals_and_repeated_rows() -> None:
    found = read(CREDITS, InvoiceColumns(), "2026-11")
    assert {day: said.cost for (day, _), said in found.said.items()} == {
        "2026-11-01": Fraction("1.5"),
        "2026-11-03": Fraction("-2.3"),
    }
    assert (found.rows, found.totals, found.repeated) == (6, 1, 1)


GOOD = "date,model,cost,input_tokens,currency\n2026-11-01,m,1,2,usd\n"


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("\n", {}, "no column that is known as its date or model or cost"),
        (
            "when,model,cost\n",
            {},
            "known as its date: say which one it is, in `columns`. It has: when, model",
        ),
        ("date,model\n2026-11-01,m\n", {}, "known as its cost"),
        (GOOD, {"cost": "nett"}, "no column 'nett'. It has: date, model, cost"),
        ("date,model,cost,cost\n", {}, "several columns 'cost'"),
        (GOOD + "2026-11-02,m,1,2\n", {}, "Line 3 of the invoice: it has 4 fields, and the header has 5."),
        (
            GOOD + "2026-11-02,m,ten,2,usd\n",
            {},
            "Line 3 of the invoice: `cost` is 'ten', which is no number.",
        ),
        (GOOD + "2026-11-02,m,nan,2,usd\n", {}, "Line 3 of the invoice: `cost` is 'nan'"),
        (GOOD + '2026-11-02,m,"0,123",2,usd\n', {}, "Line 3 of the invoice: `cost` is '0,123', which is no"),
        ("date;model;cost\n2026-11-02;m;1,234\n", {}, "`cost` is '1,234': write decimals with a point"),
        ("date;model;cost\n2026-11-02;m;0,5\n", {}, "`cost` is '0,5': write decimals with a point"),
        (GOOD + "2026-11-02,m,1e999999,2,usd\n", {}, "Line 3"),
        (GOOD + "2026-11-02,m,1,2.5,usd\n", {}, "Line 3 of the invoice: `input_tokens` is no whole number"),
        (
            AZURE,
            {"model": "meterName", "cost": "costInUsd"},
            "Line 2 of the invoice: its date is '11/01/2026': say",
        ),
        (
            AZURE.replace("11/0", "2026-11-0").replace("/2026", ""),
            {"model": "meterName", "cost": "costInBillingCurrency"},
            "Line 2 of the invoice: its currency is 'EUR'; costs here are in USD.",
        ),
        ("date,model,Kosten (€)\n", {"cost": "Kosten (€)"}, "'Kosten (€)' is of another currency"),
        ("date,model,cost_eur\n", {"cost": "cost_eur"}, "'cost_eur' is of another currency"),
        ("date\tmodel\tcost\n2026-11-02\tm\t1,234\n", {}, "`cost` is '1,234': write decimals with a point"),
        (GOOD + "31/31/2026,m,1,2,usd\n", {}, "say in `dates` whether day or month is first"),
        (GOOD + ",m,1,2,usd\n", {}, "Line 3 of the invoice: its date is ''"),
        (GOOD + "yesterday,m,1,2,usd\n", {}, "Line 3 of the invoice: its date is 'yesterday'"),
        (GOOD + "0000-11-02,m,1,2,usd\n", {}, "Line 3 of the invoice: its date is"),
        (GOOD + "2026-11-02,m,1,2,eur\n", {}, "Line 3 of the invoice: its currency is 'eur'"),
        (
            GOOD + '2026-11-02,"m,1,2,usd\n',
            {},
            "Line 3 of the invoice: it is no CSV: unexpected end of data.",
        ),
        (GOOD + '2026-11-02,"m"x,1,2,usd\n', {}, "Line 3 of the invoice: it is no CSV"),
        (
            GOOD + f"2026-11-02,{'m' * 10_001},1,2,usd\n",
            {},
            "Line 3 of the invoice: a field has more than 10,000",
        ),
        (
            GOOD + f"2026-11-02,{'m' * 200_000},1,2,usd\n",
            {},
            "Line 3 of the invoice: it is no CSV: field larger",
        ),
        (GOOD + "\0\n", {}, "Line 3"),
        (GOOD.replace("11-01", "10-01"), {}, "no row of 2026-11; 1 are of other months"),
    ],
)
def test_what_is_wrong_with_an_invoice_is_named(text: str, columns: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(text, InvoiceColumns(**columns), "2026-11")
    assert message in caught.value.message


@given(st.text(alphabet='date,model\ncost01-2"; \t\0\r', max_size=60), st.booleans())
def test_no_text_breaks_the_reader(text: str, has_header: bool) -> None:
    try:
        read(GOOD * has_header + text, InvoiceColumns(), "2026-11")
    except InvalidRequest as exc:
        assert exc.status == 400  # noqa: PT017 - it need not be wrong


def test_an_invoice_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invoice, "MAX_ROWS", 2)
    body = GOOD + "2026-11-02,m,1,2,usd\n"
    assert read(body, InvoiceColumns(), "2026-11").rows == 2
    with pytest.raises(InvalidRequest, match="more than 2 rows"):
        read(body + "2026-11-02,m,1,2,usd\n", InvoiceColumns(), "2026-11")


def test_a_column_of_ids_is_no_column_of_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invoice, "MAX_LINES", 1)
    with pytest.raises(InvalidRequest, match="is 'model' the column of its models"):
        read(GOOD + "2026-11-01,another,1,2,usd\n", InvoiceColumns(), "2026-11")


# -- comparing

DAYS = st.sampled_from(["2026-11-01", "2026-11-02"])
MODELS = st.sampled_from(["gpt-5", "gpt-5-2026-01-01", "GPT 5", "other", ""])
COSTS = st.fractions(min_value=0, max_value=100, max_denominator=3 * 10**12)
TOKENS = st.integers(0, 10**9)


@given(
    st.dictionaries(st.tuples(DAYS, MODELS), st.builds(Said, COSTS, TOKENS, st.none())),
    st.lists(st.builds(Used, DAYS, MODELS, TOKENS, TOKENS, TOKENS, TOKENS, TOKENS)),
)
def test_nothing_is_lost_and_all_adds_up(said: dict[tuple[str, str], Said], ours: list[Used]) -> None:
    columns = {"date": "d", "model": "m", "cost": "c", "input": "i"}
    found = compare(Invoice(columns, 1, 0, said), ours, {}, provider="up", month="2026-11")
    total = found.total
    assert sum(found.states.values()) == len(found.data)
    assert (total.calls, total.our_input) == (sum(one.calls for one in ours), sum(one.input for one in ours))
    assert parse_usd(total.our_usd) == sum(one.pico for one in ours)
    exact = sum((one.cost or Fraction() for one in said.values()), Fraction()) * 10**12
    if found.data:
        assert total.invoice_usd is not None
        assert total.difference_usd is not None
        assert total.invoice_input == sum(one.input or 0 for one in said.values())
        assert -len(found.data) <= parse_usd(total.invoice_usd) - exact <= len(found.data)
        assert parse_usd(total.difference_usd) == parse_usd(total.invoice_usd) - parse_usd(total.our_usd)
    assert all(line.invoice_output is None for line in found.data)
    for line in found.data:
        with_us = [one for one in ours if (one.day, one.model) == (line.day, line.model)]
        assert (line.state == "invoice_only") == (not with_us)
        assert line.calls == sum(one.calls for one in with_us)


@pytest.mark.parametrize(
    ("theirs", "ours", "models", "found"),
    [
        ("gpt-5-mini", ["gpt-5-mini", "gpt-5"], {}, "gpt-5-mini"),
        ("gpt-5-mini-2025-08-07", ["gpt-5-mini", "gpt-5"], {}, "gpt-5-mini"),
        ("Claude Haiku 4.5", ["claude-haiku-4-5-20251001"], {}, "claude-haiku-4-5-20251001"),
        ("gpt-4o", ["gpt-4o-2024-08-06", "gpt-4o-2024-11-20"], {}, "gpt-4o"),
        ("gpt-4o-2024-08-06", ["gpt-4o-2024-08-06", "gpt-4o-2024-11-20"], {}, "gpt-4o-2024-08-06"),
        ("USE1-Nova", ["nova-pro"], {"USE1-Nova": "nova-pro"}, "nova-pro"),
        ("", ["nova-pro"], {}, ""),
    ],
)
def test_models_find_each_other(theirs: str, ours: list[str], models: dict[str, str], found: str) -> None:
    said = {("2026-11-01", theirs): Said(Fraction(1), None, None)}
    used = [Used("2026-11-01", one, 1) for one in ours]
    columns = {"cost": "cost"}
    lines = compare(Invoice(columns, 1, 0, said), used, models, provider="up", month="2026-11").data
    assert [line.model for line in lines if line.state != "ours_only"] == [found]


async def upload(desk: Office, **more: Any) -> tuple[int, Any]:
    body = {"provider": "up", "month": "2026-11", "invoice": GOOD, **more}
    return await desk.ask(OWNER, "POST", "/statements/reconcile", body)


async def test_an_invoice_is_compared_with_usage(tmp_path: Path) -> None:
    async with office(tmp_path / "store.db") as desk:
        await desk.store.add_usage(
            [
                row(0, cost_pico=9 * 10**11, price_version="v", completion_tokens=7),
                row(1, deployment="up/=gone", cost_pico=10**12, price_version="v"),
                row(40, cost_pico=10**12),  # in December
                row(2, provider="another", cost_pico=10**12),
            ]
        )
        text = (
            "date,model,cost,input_tokens\n"
            "2026-11-01,upstream-model,1,150\n"
            "2026-11-03,new-model,0.1,\n"
            "2026-10-31,new-model,5,1\n"
        )
        status, found = await upload(desk, invoice=text)
        assert status == 200
        assert (found["rows"], found["other_months"]) == (3, 1)
        assert found["states"] == {"matched": 1, "invoice_only": 1, "ours_only": 1}
        matched, ours, theirs = found["data"]
        assert (matched["model"], matched["invoice_usd"], matched["our_usd"]) == (
            "upstream-model",
            "1",
            "0.9",
        )
        assert (matched["difference_usd"], matched["difference_input"]) == ("0.1", 50)
        assert (matched["our_output"], matched["difference_output"]) == (7, None)
        assert (ours["state"], ours["model"], ours["difference_usd"]) == ("ours_only", "=gone", "-1")
        assert (theirs["state"], theirs["model"], theirs["difference_usd"]) == (
            "invoice_only",
            "new-model",
            "0.1",
        )
        assert (found["total"]["invoice_usd"], found["total"]["difference_usd"]) == ("1.1", "-0.8")
        _, table = await upload(desk, invoice=text, format="csv")
        rows = list(csv.DictReader(io.StringIO(table)))
        assert [one["model"] for one in rows] == ["upstream-model", "'=gone", "new-model"]
        assert [one["difference_usd"] for one in rows] == ["0.1", "-1", "0.1"]
        for wrong, param in (
            ({"month": "2026-13"}, "month"),
            ({"columns": {"costs": "x"}}, "columns.costs"),
            ({"columns": {"cost": "x"}}, "columns.cost"),
            ({"invoice": "x"}, "columns.date"),
            ({"invoice": "x" * 8_000_001}, "invoice"),
            ({"provider": "pu"}, "provider"),
        ):
            status, said = await upload(desk, **wrong)
            assert (status, said["param"]) == (400, param), said
        assert (await upload(desk, invoice=text, month="2026-10"))[0] == 200  # nothing was used then
        assert (await upload(desk, invoice=text, provider="another"))[0] == 200  # used, and gone by now
        viewer = VirtualKey("v", role="developer", team="filed")
        assert (await desk.ask(viewer, "POST", "/statements/reconcile", {}))[0] == 403
