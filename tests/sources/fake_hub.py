"""A model hub on this machine: the few endpoints a download needs, with the faults that downloads meet."""

import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """repositories: "org/name" -> file -> content. The faults are consumed by the requests they hit."""

    url: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    lie_about: dict[str, bytes] = field(default_factory=dict)  # served instead of the listed content
    cut_after: list[int] = field(default_factory=list)  # bytes; then the connection is closed
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)  # repository -> status, error code
    pause_after: int | None = None  # bytes; then it hangs until `resume`
    resume: threading.Event = field(default_factory=threading.Event)
    ignores_ranges: bool = False
    downloads: list[tuple[str, str]] = field(default_factory=list)  # (file, range header)
    tokens: set[str] = field(default_factory=set)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.tokens.add(self.headers.get("authorization", ""))
                path = self.path.partition("?")[0].strip("/")
                if path.startswith("api/models/"):
                    self.listing(path.removeprefix("api/models/"))
                else:
                    repo, _, rest = path.partition("/resolve/")
                    self.file(repo, rest.partition("/")[2], with_body=True)

            def do_HEAD(self) -> None:
                repo, _, rest = self.path.strip("/").partition("/resolve/")
                self.file(repo, rest.partition("/")[2], with_body=False)

            def listing(self, path: str) -> None:
                repo, _, revision = path.partition("/revision/")
                if refusal := hub.refusals.get(repo):
                    self.refuse(*refusal)
                elif repo not in hub.repositories:
                    self.refuse(404, "RepoNotFound")
                elif revision not in {"", "main", COMMIT}:
                    self.refuse(404, "RevisionNotFound")
                else:
                    files = hub.repositories[repo].items()
                    self.answer(
                        json.dumps(
                            {
                                "id": repo,
                                "sha": COMMIT,
                                "siblings": [sibling(name, data) for name, data in files],
                            }
                        ).encode()
                    )

            def file(self, repo: str, name: str, *, with_body: bool) -> None:
                data = hub.lie_about.get(name, hub.repositories[repo][name])
                asked = self.headers.get("range", "")
                start = 0 if hub.ignores_ranges else int(asked.removeprefix("bytes=").strip("-") or 0)
                self.send_response(206 if start else 200)
                self.send_header("content-length", str(len(data) - start))
                self.send_header("etag", f'"{hashlib.sha256(data).hexdigest()}"')
                self.send_header("x-repo-commit", COMMIT)
                self.end_headers()
                if with_body:
                    hub.downloads.append((name, asked))
                    self.body(data[start:])

            def body(self, data: bytes) -> None:
                if hub.cut_after:
                    self.wfile.write(data[: hub.cut_after.pop(0)])
                    self.close_connection = True
                elif hub.pause_after is not None:
                    self.wfile.write(data[: hub.pause_after])
                    self.wfile.flush()
                    hub.resume.wait(20)
                    hub.pause_after = None
                    self.close_connection = True
                else:
                    self.wfile.write(data)

            def refuse(self, status: int, code: str = "") -> None:
                self.send_response(status)
                if code:
                    self.send_header("x-error-code", code)
                self.send_header("content-length", "0")
                self.end_headers()

            def answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def sibling(name: str, data: bytes) -> dict[str, Any]:
    row: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": "0" * 40}
    if name.endswith((".gguf", ".safetensors")):
        digest = hashlib.sha256(data).hexdigest()
        row["lfs"] = {"size": len(data), "sha256": digest, "pointerSize": 134}
    return row


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that break off are what these tests are about."""


def wait_for(condition: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
