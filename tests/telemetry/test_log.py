import io
import json
import logging
import threading

import pytest
import structlog

from penstock.telemetry import log


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_both_loggers_write_json_lines() -> None:
    stream = io.StringIO()
    writer = log.configure("info", stream=stream)
    structlog.get_logger("a").info("hello", tokens=3)
    structlog.get_logger("a").debug("unseen")
    logging.getLogger("b").warning("from %s", "stdlib")
    writer.close()
    first, second = lines(stream)
    assert (first["event"], first["tokens"], first["level"]) == ("hello", 3, "info")
    assert (second["event"], second["level"]) == ("from stdlib", "warning")


def test_a_bad_level_is_named() -> None:
    with pytest.raises(ValueError, match="'loud' is not one of debug, info"):
        log.configure("loud")


def test_a_closed_stream_does_not_stop_the_program() -> None:
    stream = io.StringIO()
    writer = log.configure("info", stream=stream)
    stream.close()
    structlog.get_logger("a").info("nobody reads")
    writer.close()


class Stuck(io.StringIO):
    """A pipe that nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.freed = threading.Event()

    def write(self, _text: str) -> int:
        self.freed.wait(30)
        return 0


def test_closing_gives_up_on_a_full_queue_that_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_QUEUE_LINES", 3)
    monkeypatch.setattr(log, "_CLOSE_S", 0.1)
    stream = Stuck()
    writer = log.LineWriter(stream)
    for number in range(10):
        writer.msg(str(number))
    closing = threading.Thread(target=writer.close, daemon=True)
    closing.start()
    closing.join(5)
    assert not closing.is_alive()
    stream.freed.set()
