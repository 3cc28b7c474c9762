"""The real program in a process of its own: started, asked, stopped; its models are elsewhere."""

import json
import os
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
import trustme
from penstock_fixture import Penstock

from penstock.testing.upstream import DEFAULT_TEXT

PENSTOCK = [sys.executable, "-c", "from penstock.cli import main; main()"]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    """Starts `penstock ...` in an empty home; what still runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def begin(*words: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*PENSTOCK, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=home,
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def upstream() -> Iterator[str]:
    """An OpenAI-compatible server by hand, as docs/testing.md starts it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "penstock.testing.upstream", "--port", str(port)])
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}/v1"
    process.terminate()
    process.wait()


@pytest.fixture
def config(home: Path, upstream: str) -> Path:
    path = home / "penstock.yaml"
    path.write_text(
        "builtin: off\n"
        f"providers: {{up: {{kind: openai-compatible, base_url: {upstream}, api_key: sk-up}}}}\n"
        "deployments: {m: {provider: up, model: x}}\n"
    )
    return path


def ready(path: Path, process: subprocess.Popen[str]) -> dict[str, Any]:
    for _ in range(300):
        if path.exists():
            found: dict[str, Any] = json.loads(path.read_text())
            return found
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("not ready in 15 s")


def ask(url: str, key: str) -> Any:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    with urlopen(Request(f"{url}/v1/chat/completions", body, headers), timeout=10) as answer:  # noqa: S310 - ours
        return json.loads(answer.read())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_up_serves_and_stops_cleanly(number: signal.Signals, config: Path, home: Path, start: Start) -> None:
    process = start("up", "--port", "0", "--ready-file", home / "ready.json")
    said = ready(home / "ready.json", process)
    assert said["pid"] == process.pid
    assert said["key"] == (home / "data" / "key").read_text().strip()
    assert ask(said["url"], said["key"])["choices"][0]["message"]["content"] == DEFAULT_TEXT
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 0, err
    assert said["url"] in out
    assert f"config:  {config.name}" in out
    assert f"Bearer {said['key']}" in out
    assert "Traceback" not in err
    assert not (home / "ready.json").exists()
    assert not (home / "data" / "up.json").exists()


def test_a_taken_port_says_what_to_do(config: Path, start: Start) -> None:
    assert config.exists()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = start("up", "--port", taken.getsockname()[1])
        _, err = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "--port" in err
    assert "Traceback" not in err


def test_serve_takes_the_files_keys_and_mints_none(config: Path, home: Path, start: Start) -> None:
    config.write_text(config.read_text() + "keys: {k: {secret: sk-mine}}\n")
    process = start("serve", "-c", config, "--port", "0", "--ready-file", home / "ready.json")
    said = ready(home / "ready.json", process)
    assert said["key"] is None
    assert ask(said["url"], "sk-mine")["model"] == "m"
    assert not (home / "data" / "key").exists()
    out, err = start("limits", "--key", "sk-mine", "--json").communicate(timeout=10)  # it is found
    assert json.loads(out) == [], err
    process.terminate()
    process.communicate(timeout=10)
    assert not (home / "data" / "up.json").exists()


def test_workers_that_cannot_serve_say_why_in_words(
    config: Path, home: Path, penstock: Penstock, start: Start
) -> None:
    assert penstock("store", "migrate").exit_code == 0
    with sqlite3.connect(home / "data" / "penstock.db") as database:
        row = ("team_1", 1, "ann", 1, "research", '{"requests": ["5/min"]}', "[]", "0", "0")
        database.execute("INSERT INTO teams VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    database.close()
    several = start("serve", "-c", config, "--port", "0", "--workers", "2")
    _, err = several.communicate(timeout=15)
    assert several.returncode == 1
    assert "would hold for each of the workers alone" in err
    assert "Traceback" not in err


def test_a_second_start_takes_nothing_away(config: Path, home: Path, start: Start) -> None:
    assert config.exists()
    first = start("up", "--port", "0", "--ready-file", home / "ready.json")
    said = ready(home / "ready.json", first)
    port = said["url"].rpartition(":")[2]
    second = start("up", "--port", port, "--ready-file", home / "ready.json")
    _, err = second.communicate(timeout=10)
    assert second.returncode == 1
    assert "Is another server running there?" in err
    assert ready(home / "ready.json", first) == said


def test_run_uses_a_running_up(config: Path, home: Path, start: Start) -> None:
    assert config.exists()
    server = start("up", "--port", "0", "--ready-file", home / "ready.json")
    ready(home / "ready.json", server)
    once = start("run", "m", "hello")
    out, err = once.communicate(timeout=10)
    assert (once.returncode, out) == (0, DEFAULT_TEXT + "\n"), err
    whole = start("run", "m", "hello", "--json", "--system", "be brief")
    out, err = whole.communicate(timeout=10)
    assert json.loads(out)["choices"][0]["message"]["content"] == DEFAULT_TEXT, err


def test_a_conversation_in_the_terminal(config: Path, home: Path, start: Start) -> None:
    assert config.exists()
    server = start("up", "--port", "0", "--ready-file", home / "ready.json")
    ready(home / "ready.json", server)
    done = subprocess.run(
        [*PENSTOCK, "run", "m"],
        input="hello\n\nagain\n/bye\n",
        capture_output=True,
        text=True,
        cwd=home,
        timeout=15,
        check=True,
        env=os.environ,
    )
    assert done.stdout.count(DEFAULT_TEXT) == 2


def test_tls_files_are_read_again_at_a_word(config: Path, home: Path, start: Start) -> None:
    ca = trustme.CA()

    def issue() -> str:
        issued = ca.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(home / "key.pem")
        issued.cert_chain_pems[0].write_to_path(home / "cert.pem")
        return issued.cert_chain_pems[0].bytes().decode()

    def served(port: int) -> str:
        return ssl.get_server_certificate(("127.0.0.1", port))

    first = issue()
    config.write_text(config.read_text() + "server: {tls: {cert: cert.pem, key: key.pem}}\n")
    process = start("up", "--port", "0", "--ready-file", home / "ready.json")
    said = ready(home / "ready.json", process)
    assert said["url"].startswith("https://127.0.0.1:")
    port = urlsplit(said["url"]).port
    assert port is not None
    context = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
    with urlopen(f"{said['url']}/health/live", timeout=10, context=context) as answer:  # noqa: S310 - ours
        assert answer.status == 200
    assert served(port) == first
    second = issue()
    process.send_signal(signal.SIGHUP)
    for _ in range(200):
        if served(port) == second:
            break
        time.sleep(0.05)
    assert served(port) == second
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 0, err
    assert f"curl {said['url']}/v1/chat/completions" in out
    assert "TLS files were read again" in err
    assert "Traceback" not in err


def test_check_looks_at_the_tls_files(config: Path, start: Start) -> None:
    config.write_text(config.read_text() + "server: {tls: {cert: cert.pem, key: key.pem}}\n")
    _, err = start("check", "-c", config).communicate(timeout=15)
    assert "penstock.yaml:4: server.tls.cert:" in err
    assert "cert.pem cannot be read: No such file or directory" in err
