"""Clients for node against `penstock up`: every call of the official SDKs, and promptfoo as users run it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from platforms import Platform, running

HERE = Path(__file__).parent.parent / "node"
PROMPTFOO = HERE / "node_modules" / ".bin" / "promptfoo"

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def done(node: Path, *words: Path | str, **env: str) -> subprocess.CompletedProcess[str]:
    path = f"{node.parent}{os.pathsep}{os.environ['PATH']}"
    everything: Any = {**os.environ, "PATH": path, "NO_COLOR": "1", **env}
    return subprocess.run(words, env=everything, capture_output=True, text=True, timeout=100, check=False)


def test_every_call_of_every_sdk(node: Path, encoder: Platform) -> None:
    tested = done(
        node,
        *(node, "--test", "--test-reporter=tap", HERE / "sdks.test.mjs"),
        PENSTOCK_URL=encoder.url,
        PENSTOCK_KEY=encoder.key,
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "# pass 19" in tested.stdout
    assert "# skipped 0" in tested.stdout


def test_promptfoo(node: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "penstock.yaml").write_text('routes:\n  assistant: {targets: [{deployment: "builtin:chat"}]}\n')
    results = tmp_path / "results.json"
    with running(home) as platform:
        tested = done(
            node,
            *(PROMPTFOO, "eval", "--no-cache", "--no-progress-bar"),
            *("--config", HERE / "promptfooconfig.yaml", "--output", results),
            PENSTOCK_URL=platform.url,
            PENSTOCK_KEY=platform.key,
            PROMPTFOO_CONFIG_DIR=str(tmp_path / "promptfoo"),
            PROMPTFOO_DISABLE_TELEMETRY="1",
            PROMPTFOO_DISABLE_UPDATE="1",
            PROMPTFOO_DISABLE_REMOTE_GENERATION="1",
        )
    assert tested.returncode == 0, tested.stdout + tested.stderr
    stats = json.loads(results.read_text("utf-8"))["results"]["stats"]
    assert (stats["successes"], stats["failures"], stats["errors"]) == (9, 0, 0)
