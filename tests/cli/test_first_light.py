"""The first minute of a newcomer: `penstock up`, and the lines it printed pasted into a shell."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PENSTOCK = [sys.executable, "-c", "from penstock.cli import main; main()"]
README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
FIRST_FETCH_S = 240  # the embedding model, where the cache has none yet

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(FIRST_FETCH_S + 60)]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A running platform on embedded defaults, with this machine's own model cache."""
    home = tmp_path_factory.mktemp("home")
    env = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    env["PENSTOCK_DATA_DIR"] = str(home / "data")
    with (home / "out").open("w") as out, (home / "err").open("w") as err:
        process = subprocess.Popen(
            [*PENSTOCK, "up", "--port", "0", "--ready-file", str(home / "ready.json")],
            stdout=out,
            stderr=err,
            stdin=subprocess.DEVNULL,
            cwd=home,
            env=env,
        )
        began = time.monotonic()
        while not (home / "ready.json").exists():
            assert process.poll() is None, (home / "err").read_text()
            assert time.monotonic() - began < 15, (home / "err").read_text()
            time.sleep(0.02)
        said: dict[str, Any] = json.loads((home / "ready.json").read_text())
        while f"{said['key']}" not in (home / "out").read_text():
            time.sleep(0.02)
        yield {**said, "home": home, "env": env}
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0, (home / "err").read_text()


def paste(line: str, env: dict[str, str] | None = None) -> Any:
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=True, env=env, timeout=120
    )
    return json.loads(done.stdout)


def printed(up: dict[str, Any]) -> dict[str, str]:
    lines = [line for line in (up["home"] / "out").read_text().splitlines() if line.startswith("curl ")]
    return {shlex.split(line)[1].removeprefix(up["url"]): line for line in lines}


def patiently(line: str) -> Any:
    """Asks again while the model is on its way, as the 503 says."""
    began = time.monotonic()
    while time.monotonic() - began < FIRST_FETCH_S:
        answer = paste(line)
        if answer.get("error", {}).get("code") != "model_loading":
            return answer
        time.sleep(1)
    return answer


def test_three_lines_are_printed(up: dict[str, Any]) -> None:
    assert list(printed(up)) == ["/v1/chat/completions", "/v1/embeddings", "/v1/rerank"]


def test_the_chat_line_gives_a_sentence(up: dict[str, Any]) -> None:
    answer = patiently(printed(up)["/v1/chat/completions"])
    assert len(answer["choices"][0]["message"]["content"].split()) > 3
    assert answer["model"] == "builtin:chat"


def test_the_embeddings_line_gives_a_vector(up: dict[str, Any]) -> None:
    answer = patiently(printed(up)["/v1/embeddings"])
    assert len(answer["data"][0]["embedding"]) == 384


def test_the_rerank_line_gives_a_ranking(up: dict[str, Any]) -> None:
    answer = patiently(printed(up)["/v1/rerank"])
    assert [row["index"] for row in answer["results"]] == [1, 0]


def test_the_readmes_line_works_as_written(up: dict[str, Any]) -> None:
    (line,) = re.findall(r"```sh\n(curl .*?)```", README, re.DOTALL)
    line = line.replace("http://127.0.0.1:8600", up["url"])
    line = line.replace("~/.local/share/penstock", str(up["home"] / "data"))
    assert paste(line)["choices"][0]["message"]["content"]


def test_run_starts_a_server_of_its_own_when_none_is_up(tmp_path: Path) -> None:
    env = {**os.environ, "PENSTOCK_DATA_DIR": str(tmp_path)}
    done = subprocess.run(
        [*PENSTOCK, "run", "builtin:chat", "What is Penstock?"],
        capture_output=True,
        text=True,
        env=env,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) > 3
    assert "Traceback" not in done.stderr
