"""The first minutes beside a running platform: the printed lines, `run`, `check`, `doctor`, `models`.

The lines themselves, and README's, are tests/cli/test_first_light.py's; here they run against a platform
that others use at the same time.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from platforms import PENSTOCK, Platform, ask, running

from penstock.lib import http1

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
MAKE_TARGETS = {"up", "test"}


def command(platform: Platform, *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*PENSTOCK, *words],
        capture_output=True,
        text=True,
        env=platform.env,
        cwd=platform.home,
        check=False,
        timeout=40,
    )
    assert "Traceback" not in done.stderr
    return done


def paste(line: str) -> Any:
    if shutil.which("curl") is None:
        message = "curl is not installed: apt install curl"
        if os.environ.get("PENSTOCK_TEST_REQUIRE_ALL") == "1":
            pytest.fail(message)
        pytest.skip(message)
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True, timeout=30)
    return json.loads(done.stdout)


def test_the_three_printed_lines(encoder: Platform) -> None:
    chat, embedding, ranking = [
        paste(line) for line in encoder.printed().splitlines() if line.startswith("curl ")
    ]
    assert "enstock" in chat["choices"][0]["message"]["content"]
    assert len(embedding["data"][0]["embedding"]) == 384
    best = ranking["results"][0]
    assert best["index"] == 1  # tea is made with hot water
    assert best["relevance_score"] > ranking["results"][1]["relevance_score"]


def test_run_talks_to_the_running_platform(platform: Platform) -> None:
    done = command(platform, "run", "builtin:chat", "Hello")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_run_says_what_is_wrong(platform: Platform) -> None:
    done = command(platform, "run", "builtin:chatt", "Hello")
    assert done.returncode == 1
    assert "builtin:chat" in done.stderr


def test_check(platform: Platform) -> None:
    done = command(platform, "check")
    assert done.returncode == 0, done.stderr
    assert "serves builtin:chat" in done.stdout
    report = json.loads(command(platform, "check", "--json").stdout)
    assert [row["id"] for row in report["models"]] == ["builtin:chat", "builtin:embedding", "builtin:rerank"]


def test_doctor(platform: Platform) -> None:
    assert command(platform, "doctor").stdout
    assert json.loads(command(platform, "doctor", "--json").stdout)


def test_models_list(platform: Platform) -> None:
    done = command(platform, "models", "list", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) is not None


def test_a_team_with_a_budget_as_the_readme_makes_it(platform: Platform) -> None:
    (block,) = (one for one in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if " teams create " in one)
    said = []
    for line in block.splitlines():
        words = shlex.split(line, comments=True)
        assert words.pop(0) == ".venv/bin/penstock"
        done = command(platform, *words)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout.strip())
    assert said[0].startswith("team_")
    assert re.fullmatch(r"sk-penstock-\w+", said[1].splitlines()[-1])


def test_every_shell_line_of_the_readme_is_one_we_know() -> None:
    """Offline ones are run by a test; a new one must get its own."""
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL):
        first = block.split()[:2]
        known = first[0] == "curl" or first in (
            [".venv/bin/penstock", "run"],
            [".venv/bin/penstock", "teams"],
        )
        known |= first[0] == "make" and set(re.findall(r"^make (\w+)", block, re.MULTILINE)) <= MAKE_TARGETS
        assert known, block


async def _ask(platform: Platform) -> int:
    async with http1.Client() as client:
        return (await platform.post(client, ask()))[0]


async def test_time_to_the_first_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Measured and printed, not asserted: machines differ."""
    began = time.monotonic()
    with running(tmp_path) as platform:
        listening_s = time.monotonic() - began
        assert await _ask(platform) == 200
        answered_s = time.monotonic() - began
        assert platform.stop() == 0
    with capsys.disabled():
        print(f"\nfirst answer after {answered_s:.2f} s (listening after {listening_s:.2f} s)")  # noqa: T201
