"""Which source wins, and that each value remembers its own."""

from pathlib import Path

import pytest

from penstock.config.compile import compile_settings
from penstock.config.errors import ConfigError
from penstock.config.load import Flags, load

TEXT = """\
server:
  host: 10.0.0.1
  port: 1
telemetry: {log_level: error}
"""


def test_without_a_file_the_defaults_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load(Flags(), env={})
    assert loaded.origin == "built-in defaults"
    assert loaded.settings.server.port == 8600
    assert loaded.source("server.port") == "default"
    assert loaded.data_dir == Path("~/.local/share/penstock").expanduser()


def test_a_flag_beats_a_variable_beats_the_file(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(TEXT)
    env = {"PENSTOCK_CONFIG": str(file), "PENSTOCK_PORT": "2", "PENSTOCK_HOST": "10.0.0.2"}
    loaded = load(Flags(host="10.0.0.3", data_dir=tmp_path), env=env)
    assert loaded.settings.server.host == "10.0.0.3"
    assert loaded.source("server.host") == "--host"
    assert loaded.settings.server.port == 2
    assert loaded.source("server.port") == "PENSTOCK_PORT"
    assert loaded.settings.telemetry.log_level == "error"
    assert loaded.source("telemetry.log_level") == f"{file}:4"
    assert loaded.source("server.body_limit") == "default"
    assert loaded.data_dir == tmp_path


def test_the_file_of_the_working_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "penstock.yaml").write_text(TEXT)
    loaded = load(Flags(), env={"PENSTOCK_DATA_DIR": "~/x"})
    assert loaded.origin == "penstock.yaml"
    assert loaded.source("server.port") == "penstock.yaml:3"
    assert loaded.data_dir == Path("~/x").expanduser()


@pytest.mark.parametrize(
    ("flags", "env", "expected"),
    [
        (Flags(), {"PENSTOCK_PORT": "x"}, "PENSTOCK_PORT: 'x' is not a port"),
        (Flags(port=70000), {}, "--port: 70000 is not a port"),
        (Flags(), {"PENSTOCK_LOG_LEVEL": "loud"}, "PENSTOCK_LOG_LEVEL: 'loud' is not one of debug"),
        (Flags(config=Path("/nowhere/p.yaml")), {}, "/nowhere/p.yaml: cannot be read: No such file"),
        (Flags(config=Path("/")), {}, "cannot be read: Is a directory"),
    ],
)
def test_bad_sources_are_named(
    flags: Flags, env: dict[str, str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as raised:
        load(flags, env=env)
    assert expected in str(raised.value)


def test_a_variable_that_is_missing_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "penstock.yaml"
    path.write_text(
        "providers: {openai: {kind: openai, api_key: '${OPENAI_API_KEY}'}, other: {kind: openai}}"
    )
    with pytest.raises(ConfigError) as caught:
        load(Flags(path), env={})
    assert [problem.path for problem in caught.value.problems] == [
        "providers.openai.api_key",
        "providers.other",
    ]


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(Flags(config=file), env={})


def test_relative_files_lie_beside_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf").mkdir()
    file = tmp_path / "conf" / "penstock.yaml"
    file.write_text(
        "builtin: false\nkeys: {a: {secret: sk-a}}\nproviders: {v: {kind: openai, api_key: sk-b}}\n"
        "deployments:\n  near: {model: 'file:models/x.gguf'}\n  far: {model: 'file:/models/x.gguf'}\n"
        "  home: {model: 'file:~/x.gguf'}\n  away: {model: 'file:odd', provider: v}\n"
    )
    monkeypatch.chdir(tmp_path)
    settings = load(Flags(config=Path("conf/penstock.yaml")), env={}).settings
    models = {name: written.model for name, written in settings.deployments.items()}
    assert models == {
        "near": f"file:{tmp_path}/conf/models/x.gguf",
        "far": "file:/models/x.gguf",
        "home": "file:~/x.gguf",
        "away": "file:odd",
    }
    rows = {row.id: row.extras for row in compile_settings(settings, secret=b"0" * 32).models()}
    assert rows["near"]["description"] == "file:x.gguf on llamacpp"


def test_the_store_is_in_the_data_folder_or_where_the_file_says(tmp_path: Path) -> None:
    flags = Flags(data_dir=tmp_path / "data")
    assert load(flags, env={}).store_url == f"sqlite:///{tmp_path}/data/penstock.db"
    path = tmp_path / "p.yaml"
    for said, meant in (
        ("sqlite:///own.db", f"sqlite:///{tmp_path}/own.db"),
        ("sqlite:////var/own.db", "sqlite:////var/own.db"),
        ("sqlite:///~/own.db", "sqlite:///~/own.db"),
        ("postgresql://me@db/penstock", "postgresql://me@db/penstock"),
    ):
        path.write_text(f"store: {{url: '{said}'}}")
        assert load(Flags(path), env={}).store_url == meant
