import json
from pathlib import Path

import pytest
from penstock_fixture import Penstock

from penstock.config import schema
from penstock.config.fields import secret_fields

TEXT = """\
builtin: off
providers:
  up: {kind: openai-compatible, base_url: "http://127.0.0.1:9/v1", api_key: "${UP_KEY}", headers: {x-a: hush}}
deployments:
  m: {provider: up, model: upstream}
routes:
  r: {targets: [{deployment: m}], timeouts: {total: 90s}}
keys:
  k: {secret: sk-very-secret}
"""


@pytest.fixture
def config(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UP_KEY", "sk-upstream")
    path = home / "my.yaml"
    path.write_text(TEXT)
    return path


def test_it_says_what_would_run_and_where_each_value_comes_from(config: Path, penstock: Penstock) -> None:
    result = penstock("check", "-c", config, "--port", "9001", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    rows = {row["setting"]: (row["value"], row["source"]) for row in report["settings"]}
    assert rows["server.port"] == (9001, "--port")
    assert rows["server.body_limit"] == ("16MiB", "default")
    assert rows["routes.r.timeouts.total"] == ("90s", f"{config}:7")
    assert rows["providers.up.base_url"] == ("http://127.0.0.1:9/v1", f"{config}:3")
    assert [model["id"] for model in report["models"]] == ["m", "r"]
    assert report["keys"] == ["k"]


def test_it_shows_no_secret_and_writes_nothing(config: Path, penstock: Penstock, home: Path) -> None:
    for words in ((), ("--json",)):
        output = penstock("check", "-c", config, *words).output
        assert "(set)" in output
        for secret in ("sk-very-secret", "sk-upstream", "hush"):
            assert secret not in output
    assert not (home / "data").exists()


def test_passwords_in_urls_are_not_shown(home: Path, penstock: Penstock) -> None:
    path = home / "redis.yaml"
    path.write_text("builtin: off\nlimits: {store: 'redis://me:hush@10.0.0.5:6379/0'}\n")
    for words in ((), ("--json",), ("--explain", "limits.store")):
        output = penstock("check", "-c", path, *words).output
        assert ("hush" in output, "redis://(set)@10.0.0.5:6379/0" in output) == (False, True), output


def test_passwords_behind_the_question_mark_of_a_url_are_not_shown(home: Path, penstock: Penstock) -> None:
    path = home / "urls.yaml"
    path.write_text(
        "builtin: off\nstore: {url: 'postgresql://db/penstock?user=me&password=hush&sslpassword=hush'}\n"
        "limits: {store: 'redis+sentinel://s1,s2:26380/mine/0?sentinel_password=hush&client_name=me'}\n"
    )
    for words in ((), ("--json",)):
        output = penstock("check", "-c", path, *words).output
        assert "hush" not in output
        assert "sentinel_password=(set)&client_name=me" in output


def test_where_the_data_folder_was_said(
    home: Path, penstock: Penstock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_DATA_DIR", "~/of-the-variable")
    assert penstock("check").output.count("of-the-variable   [PENSTOCK_DATA_DIR]") == 1
    assert "of-the-flag   [--data-dir]" in penstock("check", "--data-dir", home / "of-the-flag").output
    monkeypatch.delenv("PENSTOCK_DATA_DIR")
    assert "penstock   [default]" in penstock("check").output


def test_no_field_of_a_provider_that_is_secret_is_shown(home: Path, penstock: Penstock) -> None:
    """Every one, whatever is added: a setting is secret by its type."""
    secrets = sorted(secret_fields(schema.Provider) - {"headers", "api_keys", "api_key"})
    assert {"secret_access_key", "client_secret", "service_account"} <= set(secrets)
    said = ", ".join(f"{name}: hush-{name}" for name in secrets)
    path = home / "all.yaml"
    path.write_text(
        "builtin: off\n"
        f"providers:\n  up: {{kind: openai, {said}, api_keys: [hush-1, hush-2], headers: {{x-a: hush}}}}\n"
        "deployments: {m: {provider: up, model: x}}\n"
        "keys: {k: {secret: hush-key}}\n"
        "server: {secret: hush-server}\n"
    )
    for words in ((), ("--json",)):
        result = penstock("check", "-c", path, *words)
        assert result.exit_code == 0, result.output
        assert "hush" not in result.output


def test_problems_exit_1_all_at_once(home: Path, penstock: Penstock) -> None:
    path = home / "bad.yaml"
    path.write_text("server: {prot: 1}\nroutes: {r: {targets: [{deployment: nope}]}}\n")
    result = penstock("check", "-c", path)
    assert result.exit_code == 1
    assert f"{path}:1: server.prot: there is no such setting" in result.output
    assert f"{path}:2: routes.r.targets[0].deployment: there is no deployment 'nope'" in result.output
    assert "2 problems." in result.output


def test_it_says_what_has_no_price(config: Path, penstock: Penstock) -> None:
    result = penstock("check", "-c", config)
    assert "no price is known of m: calls have an unknown cost" in result.output
    text = config.read_text()
    config.write_text(text + "prices: {models: {m: {input: $0.150/1M, output: $1/1M}}}\n")
    report = json.loads(penstock("check", "-c", config, "--json").output)
    assert report["unpriced"] == []
    rows = {row["setting"]: (row["value"], row["source"]) for row in report["settings"]}
    assert rows["prices.models.m.input"] == ("$0.15/1M", f"{config}:10")
    config.write_text(text + "prices: {unknown: refuse}\n")
    assert "no price is known of m: calls are refused" in penstock("check", "-c", config).output


def test_a_broken_table_of_prices_stops_the_start(config: Path, penstock: Penstock, home: Path) -> None:
    (home / "data").mkdir()
    (home / "data" / "prices.yaml").write_text("- {vendor: openai}")
    result = penstock("check", "-c", config)
    assert result.exit_code == 1
    assert "no price table" in result.output


def test_a_dangling_name_alone_has_its_line(home: Path, penstock: Penstock) -> None:
    path = home / "bad.yaml"
    path.write_text("builtin: off\nkeys: {a: {secret: s}}\nroutes: {r: {targets: [{deployment: nope}]}}\n")
    result = penstock("check", "-c", path)
    assert (
        f"{path}:3: routes.r.targets[0].deployment: there is no deployment 'nope'; there are: none"
        in result.output
    )


def test_the_environment_is_adopted_without_a_file(
    home: Path, penstock: Penstock, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "penstock.yaml").write_text("builtin: off\n")
    monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-deep")
    report = json.loads(penstock("check", "--json").output)
    assert report["adopted"] == {"deepseek": "DEEPSEEK_API_KEY"}
    assert report["config"] == "penstock.yaml"
    assert report["keys"] == ["minted"]
    file_only = json.loads(penstock("check", "-c", home / "penstock.yaml", "--json").output)
    assert file_only["adopted"] == {}
