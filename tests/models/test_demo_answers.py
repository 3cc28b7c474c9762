"""The demonstration model's file: whether it answers the questions of its card. Needs llama.cpp only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "src/penstock/engines/data/penstock-demo-5m-q8_0.gguf"


@pytest.fixture(scope="module")
def answered() -> list[list[list[str]]]:
    """The card's dialogues, answered by the committed file in a process of its own."""
    pytest.importorskip("xllamacpp", reason="xllamacpp or libgomp1 is missing", exc_type=ImportError)
    script = (
        "import json, sys; from pathlib import Path\n"
        "from models.demo.samples import dialogue, samples, server\n"
        "engine = server(Path(sys.argv[1]))\n"
        "print('\\n' + json.dumps([dialogue(engine, sample) for sample in samples()]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(MODEL)],
        cwd=ROOT,
        env={**os.environ, "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines: list[list[list[str]]] = json.loads(done.stdout.strip().splitlines()[-1])
    return lines


@pytest.mark.timeout(90)
@pytest.mark.skipif(not MODEL.exists(), reason="the model's file is not there yet: see models/demo/README.md")
def test_the_committed_model_answers_the_questions_of_its_card(answered: list[list[list[str]]]) -> None:
    wanted = json.loads((ROOT / "models/demo/samples.json").read_text(encoding="utf-8"))
    assert len(wanted) == len(answered) == 20
    missed = [
        (word, lines)
        for sample, lines in zip(wanted, answered, strict=True)
        for word in sample["expect"]
        if not any(choice in text for choice in word.split("|") for who, text in lines if who == "model")
    ]
    assert not missed


def test_the_file_is_about_five_megabytes() -> None:
    assert MODEL.stat().st_size < 7_000_000


def test_the_card_shows_the_samples() -> None:
    card = (ROOT / "models/demo/README.md").read_text(encoding="utf-8")
    for sample in json.loads((ROOT / "models/demo/samples.json").read_text(encoding="utf-8")):
        assert sample["messages"][0]["content"] in card
