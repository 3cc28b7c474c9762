"""The terminal's side of a conversation, against the upstream that misbehaves as a test says."""

import asyncio
import sys
import threading
from collections.abc import Iterator

import pytest

from penstock.cli import run
from penstock.cli.chatting import ChatFailed, Door
from penstock.cli.prepare import ollama_answers
from penstock.testing.upstream import Upstream

HELLO = [{"role": "user", "content": "hi"}]


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """In a thread of its own: the terminal blocks."""
    ready = threading.Event()
    made: list[Upstream] = []
    stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        end = asyncio.Event()
        async with Upstream() as up:
            made.append(up)
            stop.append((asyncio.get_running_loop(), end))
            ready.set()
            await end.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait(10)
    yield made[0]
    loop, end = stop[0]
    loop.call_soon_threadsafe(end.set)
    thread.join()


def door(upstream: Upstream) -> Door:
    return Door(upstream.url.removesuffix("/v1"), "sk-x", "m")


def test_pieces_come_as_they_are_said(upstream: Upstream) -> None:
    upstream.behaviour = {"x-test-content": "one two three", "x-test-split": "7"}
    pieces = list(door(upstream).stream(HELLO))
    assert "".join(pieces) == "one two three"
    assert len(pieces) > 1
    assert upstream.requests[-1].headers["authorization"] == "Bearer sk-x"


def test_a_whole_answer(upstream: Upstream) -> None:
    upstream.behaviour = {"x-test-content": "all of it"}
    assert door(upstream).answer(HELLO)["choices"][0]["message"]["content"] == "all of it"


@pytest.mark.parametrize(
    "behaviour",
    [
        {"x-test-status": "503"},
        {"x-test-cut": "2"},
        {"x-test-truncate": "2"},
        {"x-test-error-in-stream": "1"},
        {"x-test-refuse": "1"},
    ],
    ids=str,
)
def test_failures_are_one_error(behaviour: dict[str, str], upstream: Upstream) -> None:
    upstream.behaviour = behaviour
    with pytest.raises(ChatFailed):
        list(door(upstream).stream(HELLO))


def test_nobody_there(upstream: Upstream) -> None:
    nobody = Door("http://127.0.0.1:9", "sk-x", "m")
    assert not nobody.knows_model()
    with pytest.raises(ChatFailed, match="broke"):
        nobody.answer(HELLO)
    assert not ollama_answers("http://127.0.0.1:9")
    assert not ollama_answers(upstream.url.removesuffix("/v1"))


def test_a_model_does_not_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    run._show("a\x1b]0;owned\x07\x1b[2Jb\x9b31m\r\x7f\tc\n\u00e9 \u4e16\U0001f600")
    assert capsys.readouterr().out == "a]0;owned[2Jb31m\tc\n\u00e9 \u4e16\U0001f600"
