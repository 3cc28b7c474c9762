"""Log lines: structlog, JSON on stdout for machines, coloured text for a terminal.

Lines are rendered and written by one thread, in batches: a terminal or pipe that nobody reads must not stop
the event loop, and waking a thread for each line would cost more than the line. When that thread falls behind
by `_QUEUE_LINES` lines, lines are dropped and the number dropped is logged.

    structlog, logging      everything rare
    calls()                 the one line per request, past structlog's processors (5 us a line)
"""

import datetime as dt
import json
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO, cast

import msgspec
import structlog

LEVELS = ("debug", "info", "warning", "error")
_QUEUE_LINES = 10_000
_BATCH_S = 0.05  # how long a line may wait for others
_CLOSE_S = 2.0

Fields = Mapping[str, Any]  # with a `timestamp`, a datetime in UTC
Line = Fields | str  # or text that is a line already
_write_call: "Callable[[Line], None] | None" = None


def configure(level: str, *, stream: TextIO | None = None) -> "LineWriter":
    """Sends structlog's and the standard library's lines to `stream` (stderr). Call once; `close` the result.

    Raises ValueError for a level that is not in LEVELS.
    """
    global _write_call  # noqa: PLW0603 - as structlog's own configuration, one for the process
    if level not in LEVELS:
        msg = f"log level {level!r} is not one of {', '.join(LEVELS)}"
        raise ValueError(msg)
    out = stream if stream is not None else sys.stderr
    writer = LineWriter(out, _console if out.isatty() else _json)
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [structlog.stdlib.add_log_level, _add_time, structlog.processors.format_exc_info]
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: writer,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(writer)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                lambda *event: writer.render([event[-1]]).removesuffix("\n"),
            ],
        )
    )
    logging.basicConfig(level=number, handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel(max(number, logging.WARNING))  # its notes repeat what we print
    logging.getLogger("asyncpg").setLevel(logging.ERROR)  # a database that is down is told of by who asks it
    _write_call = writer.put if number <= logging.INFO else None
    return writer


def calls() -> Callable[[Line], None] | None:
    """What writes the line of a finished request, or None when nobody wants it: making one costs time."""
    return _write_call


def _add_time(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {"timestamp": dt.datetime.now(dt.UTC), **event}


_encoder = msgspec.json.Encoder(enc_hook=repr)
_colour = structlog.dev.ConsoleRenderer(colors=True)


def _json(lines: Sequence[Fields]) -> str:
    """One call for all lines: a timestamp becomes RFC 3339 in msgspec, too."""
    try:
        return _encoder.encode_lines(lines).decode()
    except (ValueError, OverflowError):  # half a surrogate pair, a very large number in one of them
        return "".join([json.dumps(line, default=_text) + "\n" for line in lines])


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, dt.datetime) else repr(value)


def _console(lines: Sequence[Fields]) -> str:
    return "".join([f"{_colour(None, '', _with_text_time(line))}\n" for line in lines])


def _with_text_time(line: Fields) -> dict[str, Any]:
    shown = {name: _steerless(value) for name, value in line.items()}
    return {**shown, "timestamp": line["timestamp"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")}


def _steerless(value: object) -> object:
    """What a client says, a path say, must not steer the terminal that shows it."""
    if not isinstance(value, str) or value.isprintable():
        return value
    return "".join([c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in value])


class LineWriter:
    """A structlog logger and a text stream that never blocks its caller."""

    def __init__(self, stream: TextIO, render: Callable[[Sequence[Fields]], str] = _json) -> None:
        self.render = render
        self._stream = stream
        self._lines: deque[Line] = deque()
        self._dropped = 0
        self._is_asleep = True
        self._is_closed = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def put(self, line: Line) -> None:
        if len(self._lines) >= _QUEUE_LINES:
            self._dropped += 1
            return
        self._lines.append(line)
        if self._is_asleep:  # two may see it and wake it twice: harmless
            self._is_asleep = False
            self._wake.set()

    def msg(self, **fields: Any) -> None:
        self.put(fields)

    debug = info = warning = warn = error = err = critical = fatal = exception = log = msg

    def write(self, text: str) -> None:
        self.put(text)

    def flush(self) -> None:
        """Nothing to do: the thread flushes after each batch."""

    def close(self) -> None:
        """Writes what is queued; gives up after two seconds on a stream nobody reads."""
        self._is_closed.set()
        self._wake.set()
        self._thread.join(timeout=_CLOSE_S)

    def _run(self) -> None:
        while not self._is_closed.is_set():
            self._wake.wait()
            self._wake.clear()
            self._is_closed.wait(_BATCH_S)
            self._is_asleep = True  # before the queue is emptied: a line put from now on wakes us again
            self._write_batch()
        self._write_batch()

    def _write_batch(self) -> None:
        texts: list[str] = []
        while self._lines:
            lines: list[Fields] = []
            while self._lines and not isinstance(self._lines[0], str):
                lines.append(cast(Fields, self._lines.popleft()))
            texts.append(self.render(lines))
            while self._lines and isinstance(self._lines[0], str):
                texts.append(cast(str, self._lines.popleft()))
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            texts.append(f'{{"event":"log lines dropped","count":{dropped}}}\n')
        try:
            self._stream.write("".join(texts))
            self._stream.flush()
        except (OSError, ValueError):  # the reader is gone: keep emptying the queue
            return
