import json
import shlex
from pathlib import Path

from penstock_fixture import Penstock

from penstock.cli.prepare import prepare
from penstock.cli.up import curls
from penstock.config.load import Flags


def test_curl_lines_can_be_pasted() -> None:
    lines = list(
        curls("http://h:1", "sk-k", {"chat": "c", "completion": "c", "embedding": "e", "rerank": "r"})
    )
    words = [shlex.split(line) for line in lines]
    assert [line[1] for line in words] == [
        "http://h:1/v1/chat/completions",
        "http://h:1/v1/embeddings",
        "http://h:1/v1/rerank",
    ]
    assert [json.loads(line[-1])["model"] for line in words] == ["c", "e", "r"]
    assert all("Authorization: Bearer sk-k" in line for line in words)


def test_only_what_can_be_done_is_shown() -> None:
    assert [*curls("u", "k", {})] == []


def test_serve_needs_a_file(penstock: Penstock) -> None:
    result = penstock("serve")
    assert result.exit_code == 2
    assert "penstock up" in result.output


def test_serve_off_loopback_needs_keys(home: Path, penstock: Penstock) -> None:
    (home / "p.yaml").write_text("builtin: off")
    result = penstock("serve", "-c", home / "p.yaml", "--host", "0.0.0.0")
    assert result.exit_code == 1
    assert "server.host: 0.0.0.0 can be reached from other machines" in result.output


def test_up_has_one_worker_whatever_the_file_says(home: Path) -> None:
    (home / "penstock.yaml").write_text(
        "builtin: off\nserver: {workers: 2}\nkeys: {k: {secret: sk-k, limits: {requests: 6/h}}}"
    )
    prepared = prepare(Flags(home / "penstock.yaml"), is_up=True, is_dry=True)  # limits in memory will do
    assert prepared.settings.server.workers == prepared.source.read().settings.server.workers == 1
    assert prepared.loaded.source("server.workers") == "penstock up"


def test_a_bad_port_in_the_environment_is_named(penstock: Penstock) -> None:
    result = penstock("up", env={"PENSTOCK_PORT": "many"})
    assert result.exit_code == 1
    assert "PENSTOCK_PORT: 'many' is not a port" in result.output


def test_a_ready_file_without_a_folder_is_refused_before_the_start(home: Path, penstock: Penstock) -> None:
    (home / "penstock.yaml").write_text("builtin: off")
    result = penstock("up", "--ready-file", home / "no" / "ready.json")
    assert result.exit_code == 1
    assert "does not exist" in result.output
