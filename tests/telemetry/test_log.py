import datetime as dt
import io
import json
import logging
import re
import threading

import pytest
import structlog

from penstock.telemetry import log

EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)


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


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_a_client_says_does_not_steer_a_terminal() -> None:
    stream = Terminal()
    writer = log.configure("info", stream=stream)
    said = "\x1b]0;title\x07\x9b31m\u202e"
    structlog.get_logger("a").info(f"event {said}", path=f"/v1/models/{said}", words=f"two words\n{said}")
    try:
        raise ValueError(said)
    except ValueError:
        structlog.get_logger("a").exception("bug")
    writer.close()
    shown = re.sub("\x1b\\[[0-9;]*m", "", stream.getvalue())  # the colours are ours
    assert not set(shown) & set("\x1b\x07\x9b\u202e")
    assert r"path=/v1/models/\x1b]0;title\x07\x9b31m\u202e" in shown
    assert shown.count("\n") > 4  # a traceback has its lines


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
        writer.msg(timestamp=EPOCH, event=str(number))
    closing = threading.Thread(target=writer.close, daemon=True)
    closing.start()
    closing.join(5)
    assert not closing.is_alive()
    stream.freed.set()


def test_the_line_of_a_call_is_written_like_any_other() -> None:
    stream = io.StringIO()
    writer = log.configure("info", stream=stream)
    write = log.calls()
    assert write is not None
    write({"timestamp": EPOCH, "level": "info", "event": "call", "id": "req_1", "status": 200})
    writer.close()
    (line,) = lines(stream)
    assert (line["event"], line["level"], line["id"], line["status"]) == ("call", "info", "req_1", 200)
    assert str(line["timestamp"]).endswith("Z")
    log.configure("warning", stream=io.StringIO()).close()
    assert log.calls() is None


def test_what_was_dropped_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_QUEUE_LINES", 3)
    stream = io.StringIO()
    writer = log.LineWriter(stream)
    for number in range(10):
        writer.msg(timestamp=EPOCH, event=str(number))
    writer.close()
    said = lines(stream)
    written = [line["event"] for line in said if "count" not in line]
    dropped = sum(int(str(line["count"])) for line in said if "count" in line)
    assert written[:3] == ["0", "1", "2"]
    assert len(written) + dropped == 10


def test_a_value_json_does_not_know_is_shown() -> None:
    stream = io.StringIO()
    writer = log.configure("info", stream=stream)
    structlog.get_logger("a").warning("odd", value=threading.Event, error=ValueError("x"))
    structlog.get_logger("a").warning("odd", model="\ud800", number=10**30)
    writer.close()
    assert "ValueError" in str(lines(stream)[0]["error"])
    assert (lines(stream)[1]["model"], lines(stream)[1]["number"]) == ("\ud800", 10**30)
