"""An engine without a model: obeys the workers' contract (runtime/process.py) and does what a test says.

    python -m penstock.testing.engine --load-s 0.2 --die-after 3

    --load-s S        sleeps before it listens
    --refuse TEXT     says {"ready": false, "error": TEXT} and exits 1
    --mute            never says its ready line
    --babble          says something else instead
    --die-at-load     exits with status 7 before its ready line
    --die-after N     exits with status 9 in the middle of its N-th streamed answer (the probe is no stream)
    --hang-health     stops answering /health after the probe
    --sick DIR        while the file DIR/<pid> exists, chat requests have the trouble that is written in it:
                      500, cut (the connection), hang; /health stays well
    --say-pid         answers with its process id, once
    --slow-s S        seconds between the events of a streamed answer
    --log-lines N     writes so many lines to stderr at start
    --ignore-sigterm  must be killed
    --first-only FILE the trouble above happens only while FILE does not exist; it is made at start

It answers POST /v1/chat/completions (stream of five words), /v1/completions and GET /health, standard library
only, one thread per connection. `FakeEngine` is the row that starts it.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from penstock.engines.host import KEY_VARIABLE, die_with_parent, say
from penstock.types.deployment import Command, Pool, Probe, Quirks
from penstock.types.requests import Operation

WORDS = ("the", " water", " runs", " down", ".")


class FakeEngine:
    """The engine row of this double: `FakeEngine("--load-s", "0.2")`."""

    name = "fake"
    codec = "openai"
    quirks = Quirks(always_stream=True)
    count_prompt = None

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments

    def operations(self, _pool: Pool) -> frozenset[Operation]:
        return frozenset({"chat", "completion"})

    def command(self, _pool: Pool, _model_path: str) -> Command:
        return Command((sys.executable, "-m", "penstock.testing.engine", *self._arguments), {})

    def probe(self, _pool: Pool) -> Probe:
        return Probe("/completions", b'{"prompt": "ready?", "max_tokens": 1}')


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    options: ClassVar[argparse.Namespace]
    is_troubled: ClassVar[bool] = True
    streams: ClassVar[int] = 0
    probed: ClassVar[bool] = False

    def do_GET(self) -> None:
        if self.options.hang_health and self.is_troubled and _Handler.probed:
            threading.Event().wait()
        self._json(200, {"status": "ok"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.headers.get("authorization") != f"Bearer {os.environ.get(KEY_VARIABLE)}":
            self._json(401, {"error": {"message": "no key", "type": "authentication_error"}})
        elif self.path.endswith("/chat/completions"):
            self._stream(json.loads(body))
        else:
            _Handler.probed = True
            choice = {"text": "yes", "index": 0, "finish_reason": "length"}
            self._json(200, {"id": "cmpl-1", "object": "text_completion", "created": 1, "choices": [choice]})

    def _stream(self, request: dict[str, Any]) -> None:
        match self._sickness():
            case "500":
                self._json(500, {"error": {"message": "out of memory", "type": "server_error"}})
                return
            case "cut":
                self.close_connection = True
                return
            case "hang":
                threading.Event().wait()
        _Handler.streams += 1
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self._event({"delta": {"role": "assistant", "content": ""}})
        words = (str(os.getpid()),) if self.options.say_pid else WORDS
        for number in range(request.get("max_tokens", len(words))):
            if number == 2 and self.is_troubled and _Handler.streams == self.options.die_after:
                os._exit(9)
            time.sleep(self.options.slow_s)
            self._event({"delta": {"content": words[number % len(words)]}})
        self._event({"delta": {}, "finish_reason": "stop"})
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _sickness(self) -> str:
        file = None if self.options.sick is None else self.options.sick / str(os.getpid())
        return file.read_text("utf-8") if file is not None and file.exists() else ""

    def _event(self, choice: dict[str, Any]) -> None:
        chunk = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "fake",
            "choices": [{"index": 0, "finish_reason": None, **choice}],
        }
        self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        self.wfile.flush()

    def _json(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """No access log."""


def main() -> None:
    die_with_parent()
    options = _options()
    _Handler.options = options
    if options.first_only is not None:
        _Handler.is_troubled = not options.first_only.exists()
        options.first_only.touch()
    if options.ignore_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for number in range(options.log_lines):
        print(f"log line {number}", file=sys.stderr)  # noqa: T201 - what the double is for
    time.sleep(options.load_s)
    if _Handler.is_troubled:
        _have_trouble(options)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    say({"ready": True, "port": server.server_address[1], "pid": os.getpid(), "context": 128})
    server.serve_forever()


def _have_trouble(options: argparse.Namespace) -> None:
    if options.refuse:
        say({"ready": False, "error": options.refuse})
        sys.exit(1)
    if options.die_at_load:
        print("the disk is on fire", file=sys.stderr)  # noqa: T201 - its last words
        sys.exit(7)
    if options.babble:
        print("hello!", flush=True)  # noqa: T201 - not a ready line
    if options.mute or options.babble:
        threading.Event().wait()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="penstock.testing.engine")
    parser.add_argument("--load-s", type=float, default=0.0)
    parser.add_argument("--refuse", default="")
    parser.add_argument("--mute", action="store_true")
    parser.add_argument("--babble", action="store_true")
    parser.add_argument("--die-at-load", action="store_true")
    parser.add_argument("--die-after", type=int, default=0)
    parser.add_argument("--hang-health", action="store_true")
    parser.add_argument("--sick", type=Path, default=None)
    parser.add_argument("--say-pid", action="store_true")
    parser.add_argument("--slow-s", type=float, default=0.0)
    parser.add_argument("--log-lines", type=int, default=0)
    parser.add_argument("--ignore-sigterm", action="store_true")
    parser.add_argument("--first-only", type=Path, default=None)
    return parser.parse_args()


if __name__ == "__main__":
    main()
