import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.config.compile import compile_settings
from penstock.config.errors import ConfigError
from penstock.config.load import load_text
from penstock.config.snapshot import Snapshot
from penstock.config.stored import claims_of_row
from penstock.config.units import Rate, format_rate, parse_money, parse_rate
from penstock.types.ledger import Claim, Limit
from penstock.types.money import format_usd
from penstock.types.store import Limits, Team, User

TEXT = """
providers:
  p: {{kind: mistral, api_key: k, limits: {{requests: 10/s}}, models: [x]}}
deployments:
  d: {{provider: p, model: m, limits: {{tokens: 1M/min}}}}
routes:
  r: {{targets: [{{deployment: d}}], limits: {{concurrency: 100}}}}
teams:
  lab: {{limits: {{requests: 1000/day}}, budget: {{usd: 500}}}}
keys:
  k: {{secret: s1, {0}}}
"""

ALERTS = (0.8, 1.0)


def compiled(key: str = "routes: [r]") -> Snapshot:
    return compile_settings(load_text(TEXT.format(key)), secret=b"0" * 32)


def said(claims: tuple[Claim, ...]) -> Any:
    return {(one.scope.kind, one.scope.id): one.limits for one in claims}


def test_a_key_has_its_own_claims_and_its_team_s() -> None:
    key = compiled(
        "team: lab, limits: {requests: [60/min, 5/s], tokens: 20k/min, concurrency: 4},"
        " budget: [{usd: 25}, {usd: 0.5, rolling: 7d}, {usd: 1, period: day, models: [r, p/x]}]"
    ).authenticate("s1")
    assert key is not None
    own = (
        Limit("requests", 60, 60),
        Limit("requests", 5, 1),
        Limit("tokens", 20_000, 60),
        Limit("concurrency", 4),
        Limit("pico_usd", 25 * 10**12, "month", ALERTS),
        Limit("pico_usd", 5 * 10**11, 7 * 86_400, ALERTS),
    )
    team = (Limit("requests", 1000, 86_400), Limit("pico_usd", 500 * 10**12, "month", ALERTS))
    assert said(key.claims) == {("key", "k"): own, ("team", "lab"): team}
    only = {("key", "k p/x r"): (Limit("pico_usd", 10**12, "day", ALERTS),)}
    assert {name: said(claims) for name, claims in key.model_claims.items()} == {"r": only, "p/x": only}
    assert key.model_claims["r"] == key.model_claims["p/x"]  # one purse for both


def test_webhooks_are_checked() -> None:
    for hook, said in (
        ("{url: hooks.example.com}", "webhooks.ops.url: is an address such as https://"),
        ("{url: 'ftp://x/'}", "webhooks.ops.url: is an address such as https://"),
        ("{url: 'https://ann:secret@x/'}", "webhooks.ops.url: is an address such as https://"),
        ("{url: 'https://x/', team: nobody}", "webhooks.ops.team: there is no team 'nobody'"),
        ("{url: 'https://x/', events: [payday]}", "webhooks.ops.events[0]: 'payday' is not"),
    ):
        with pytest.raises(ConfigError, match=re.escape(said)):
            compiled("team: lab}\nwebhooks:\n  ops: " + hook.removesuffix("}"))
    (hook,) = compiled("team: lab}\nwebhooks:\n  ops: {url: 'https://x/', secret: s, team: lab").hooks
    assert (hook.name, hook.url, hook.secret, hook.team) == ("ops", "https://x/", "s", "lab")


def test_two_keys_of_a_team_name_the_same_claim() -> None:
    snapshot = compiled("team: lab}\n  l: {secret: s2, team: lab")
    first, second = snapshot.authenticate("s1"), snapshot.authenticate("s2")
    assert first is not None
    assert second is not None
    assert first.claims[-1].limits is second.claims[-1].limits


def test_what_is_asked_has_limits_too() -> None:
    snapshot = compiled()
    route, listed = snapshot.find_route("r"), snapshot.find_route("p/x")
    assert route is not None
    assert listed is not None
    assert said(route.claims) == {("route", "r"): (Limit("concurrency", 100),)}
    provider = {("provider", "p"): (Limit("requests", 10, 1),)}
    own = {("deployment", "d"): (Limit("tokens", 1_000_000, 60),)}
    assert said(route.targets[0].deployment.claims) == own | provider
    assert said(listed.targets[0].deployment.claims) == provider
    key = snapshot.authenticate("s1")
    assert key is not None
    assert (key.claims, key.model_claims) == ((), {})


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("team: nobody", r"keys\.k\.team: there is no team 'nobody'; there are: lab"),
        ("limits: {requests: [60/min, 50/60s]}", "two rates over the same time"),
        ("limits: {requests: 60}", "a rate is an amount and s, min, h or day"),
        ("limits: {tokens: -5/min}", "a rate is an amount"),
        ("limits: {tokens: 0/min}", "above zero"),
        ("limits: {tokens: 5/0s}", "at least a second"),
        ("limits: {concurrency: 0}", "must be at least 1"),
        ("limits: {tokens: 9999999M/min}", "at most 1000M"),
        ("budget: {usd: nan}", "an amount of USD is a number"),
        ("budget: {usd: -1}", "money is from 0 to 9000000"),
        ("budget: {usd: 1e3}", "an amount of USD is a number"),
        ("budget: {usd: 99999999}", "money is from 0 to 9000000"),
        ("budget: {period: month}", "usd is missing"),
        ("budget: [{usd: 1}, {usd: 2}]", r"budget\[1\]: is over the same time and models"),
        ("budget: {usd: 1, rolling: 7d, period: day}", r"budget\[0\]\.rolling: stands beside `period`"),
        ("budget: {usd: 1, models: [x/p]}", r"keys\.k\.budget: there is no route or deployment 'x/p'"),
    ],
)
def test_limits_that_make_no_sense_stop_the_start(key: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        compiled(key)


@given(st.integers(1, 10**9), st.integers(1, 366 * 86_400))
def test_a_rate_survives_writing_and_reading(amount: int, window_s: int) -> None:
    assert parse_rate(format_rate(Rate(amount, window_s))) == Rate(amount, window_s)


@given(st.integers(0, 9 * 10**18))
def test_money_survives_writing_and_reading(pico: int) -> None:
    assert parse_money(format_usd(pico)) == pico


@pytest.mark.parametrize(
    ("row", "called"),
    [
        (Team(id="team_1", name="lab", limits=Limits(requests=("1/min",))), "lab"),
        (User(id="user_1", email="ann@example.com", limits=Limits(requests=("1/min",))), "ann@example.com"),
        (User(id="user_1", email="ann@example.com", name="Ann", limits=Limits(requests=("1/min",))), "Ann"),
    ],
)
def test_who_was_made_at_run_time_is_called_by_a_name(row: Team | User, called: str) -> None:
    (claim,) = claims_of_row(row, "closed").always
    assert (claim.scope.id, claim.scope.called) == (row.id, called)
