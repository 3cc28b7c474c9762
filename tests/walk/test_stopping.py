"""A server that ends while it answers: whoever is cut is told why, and is in the books."""

import sqlite3
from pathlib import Path

from administered import KEYS, administered
from gateways import chat

from penstock.testing.upstream import Upstream

CONFIG = """
builtin: off
providers:
  up: {{kind: openai-compatible, base_url: "{url}", api_key: k}}
deployments:
  m: {{provider: up, model: m}}
"""


async def test_a_stream_that_is_cut_by_the_end_of_the_server_has_its_row(tmp_path: Path) -> None:
    async with Upstream(behaviour={"x-test-hang": "4"}) as up:
        async with administered(tmp_path, CONFIG.format(url=up.url) + KEYS) as gate:
            headers = {"authorization": f"Bearer {gate.secret}"}
            answers = [
                await gate.open("/v1/chat/completions", chat(stream=True), headers=headers) for _ in range(20)
            ]
            gate.stop()
            for answer in answers:
                assert b"server_stopping" in await answer.read(1 << 20)
        connection = sqlite3.connect(tmp_path / "penstock.db")
        rows = connection.execute("SELECT error, completion_tokens FROM usage").fetchall()
        connection.close()
    assert rows == [("server_stopping", 3)] * 20
