"""The admin API from a terminal: plain http.client, as nothing else waits.

--url, PENSTOCK_URL, else the server that runs on this machine
--key, PENSTOCK_KEY, else the key that it minted
"""

import http.client
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from penstock.cli import minted
from penstock.config.load import DEFAULT_DATA_DIR
from penstock.types.errors import InvalidRequest, NotFoundRow, UpstreamUnavailable

WAIT_S: Final = 60
PAGE: Final = 500

Row = dict[str, Any]


class AdminClient:
    """Methods raise PenstockError with the server's own words."""

    def __init__(self, url: str, key: str) -> None:
        self._parts = urlsplit(url if "://" in url else f"http://{url}")
        if self._parts.scheme not in {"http", "https"} or not self._parts.hostname:
            raise InvalidRequest(f"--url {url}: this is no address such as http://127.0.0.1:8600.")
        self._key = key

    def get(self, path: str, /, **query: str | None) -> Any:
        return json.loads(self.text(path, **query))

    def text(self, path: str, /, **query: str | None) -> str:
        asked = urlencode({name: value for name, value in query.items() if value is not None})
        return self._ask("GET", f"{path}?{asked}" if asked else path).decode()

    def every(self, path: str, /, **query: str | None) -> Iterator[Row]:
        """The rows of all pages."""
        cursor: str | None = None
        while True:
            page = self.get(path, **{"limit": str(PAGE), **query, "cursor": cursor})
            yield from page["data"]
            cursor = page["cursor"]
            if cursor is None:
                return

    def post(self, path: str, body: Mapping[str, Any]) -> Row:
        return dict(json.loads(self._ask("POST", path, body)))

    def post_for_text(self, path: str, body: Mapping[str, Any]) -> str:
        return self._ask("POST", path, body).decode()

    def patch(self, path: str, body: Mapping[str, Any]) -> Row:
        return dict(json.loads(self._ask("PATCH", path, body)))

    def put(self, path: str, body: Mapping[str, Any]) -> Row:
        return dict(json.loads(self._ask("PUT", path, body)))

    def delete(self, path: str) -> Row:
        return dict(json.loads(self._ask("DELETE", path)))

    def named(self, path: str, word: str, *fields: str) -> Row:
        """The one row with this id, or with this value of one of the fields. Raises NotFoundRow."""
        found = [row for row in self.every(path) if word in (row["id"], *(row[name] for name in fields))]
        by_id = [row for row in found if row["id"] == word]
        if len(by_id or found) == 1:
            return (by_id or found)[0]
        if not found:
            raise NotFoundRow(f"There is none of {path.strip('/')} called {word!r}.")
        raise InvalidRequest(f"Several are called {word!r}: {', '.join(row['id'] for row in found)}.")

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> bytes:
        headers = {"authorization": f"Bearer {self._key}", "content-type": "application/json"}
        if method == "POST":
            headers["idempotency-key"] = secrets.token_hex(16)
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._parts.hostname or "", self._parts.port, timeout=WAIT_S)
        try:
            with closing(connection):
                data = None if body is None else json.dumps(body)
                connection.request(method, f"{self._parts.path.rstrip('/')}/admin/v1{path}", data, headers)
                response = connection.getresponse()
                answer = response.read()
        except (OSError, http.client.HTTPException) as exc:
            raise UpstreamUnavailable(f"{self._parts.geturl()} does not answer: {exc}.") from exc
        if response.status >= 400:
            raise InvalidRequest(_message(answer, response.status))
        return answer


def opened(url: str | None, key: str | None, data_dir: Path | None) -> AdminClient:
    """Raises InvalidRequest where no server or no key is known."""
    folder = (data_dir or Path(os.environ.get("PENSTOCK_DATA_DIR") or DEFAULT_DATA_DIR)).expanduser()
    said = url or os.environ.get("PENSTOCK_URL")
    if said is None:
        running = minted.running(folder)
        if running is None:
            raise InvalidRequest(
                f"No server of {folder} runs here. Start one (`penstock up`), or name one with --url."
            )
        said = running.url
    secret = key or os.environ.get("PENSTOCK_KEY") or minted.read_key(folder)
    if secret is None:
        raise InvalidRequest("No key is known. Name one with --key; it needs a role that may do this.")
    return AdminClient(said, secret)


def step(word: str) -> str:
    """A part of a path."""
    return quote(word, safe="")


def _message(body: bytes, status: int) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {status}: {body.decode(errors='replace')[:500]}"
