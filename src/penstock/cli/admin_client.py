"""The admin API from a terminal: plain http.client, as nothing else waits.

--url, PENSTOCK_URL, else the server that runs on this machine
--key, PENSTOCK_KEY, else the key that it minted; another machine is never sent that one
"""

import http.client
import json
import os
import re
import secrets
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from penstock.auth.addresses import is_loopback
from penstock.cli import minted
from penstock.cli.output import plain
from penstock.config.load import DEFAULT_DATA_DIR
from penstock.types.errors import InvalidRequest, NotFoundRow, UpstreamUnavailable

WAIT_S: Final = 60
PAGE: Final = 500
_KEY: Final = re.compile(r"[!-~]+")
# path -> what one row is called, and the command that lists them
_KINDS: Final = {
    "/teams": ("team", "teams list"),
    "/users": ("user", "users list"),
    "/service-accounts": ("service account", "accounts list"),
    "/keys": ("key", "keys list"),
    "/webhooks": ("webhook", "webhooks list"),
}

Row = dict[str, Any]


class AdminClient:
    """Methods raise PenstockError with the server's own words. whose: where the key is from."""

    def __init__(self, url: str, key: str, whose: str) -> None:
        self._parts = urlsplit(url if "://" in url else f"http://{url}")
        if (
            self._parts.scheme not in {"http", "https"}
            or not self._parts.hostname
            or not _has_port(self._parts)
        ):
            raise InvalidRequest(f"--url {url}: this is no address such as http://127.0.0.1:8600.")
        if not _KEY.fullmatch(key):
            raise InvalidRequest(f"This is no key: it holds characters that none has ({whose}).")
        self._folder = self._parts.path.rstrip("/").removesuffix("/v1")  # clients of models want it so
        self._key, self._whose = key, whose

    def get(self, path: str, /, **query: str | None) -> Any:
        return self._json(self.text(path, **query))

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
        return dict(self._json(self._ask("POST", path, body)))

    def post_for_text(self, path: str, body: Mapping[str, Any]) -> str:
        return self._ask("POST", path, body).decode()

    def patch(self, path: str, body: Mapping[str, Any]) -> Row:
        return dict(self._json(self._ask("PATCH", path, body)))

    def put(self, path: str, body: Mapping[str, Any]) -> Row:
        return dict(self._json(self._ask("PUT", path, body)))

    def delete(self, path: str) -> Row:
        return dict(self._json(self._ask("DELETE", path)))

    def named(self, path: str, word: str, *fields: str) -> Row:
        """The one row with this id, or with this value of one of the fields. Raises NotFoundRow."""
        found = [row for row in self.every(path) if word in (row["id"], *(row[name] for name in fields))]
        by_id = [row for row in found if row["id"] == word]
        if len(by_id or found) == 1:
            return (by_id or found)[0]
        kind, command = _KINDS[path]
        if not found:
            raise NotFoundRow(f"No {kind} is called {word!r}; `penstock {command}` shows them.")
        raise InvalidRequest(f"Several are called {word!r}: {', '.join(row['id'] for row in found)}.")

    def known(self, path: str, word: str | None, *fields: str) -> str | None:
        """The id of `named`; the word itself where there is no such row: usage outlives rows."""
        if word is None:
            return None
        try:
            return str(self.named(path, word, *fields)["id"])
        except NotFoundRow:
            return word

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> bytes:
        headers = {"authorization": f"Bearer {self._key}", "content-type": "application/json"}
        if method == "POST":
            headers["idempotency-key"] = secrets.token_hex(16)
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._parts.hostname or "", self._parts.port, timeout=WAIT_S)
        try:
            with closing(connection):
                data = None if body is None else json.dumps(body)
                connection.request(method, f"{self._folder}/admin/v1{path}", data, headers)
                response = connection.getresponse()
                answer = response.read()
        except ssl.SSLCertVerificationError as exc:
            raise UpstreamUnavailable(
                f"{self._url}: its certificate is not trusted ({exc.verify_message}). Say --url with a name"
                " that is in it; SSL_CERT_FILE names an authority of your own."
            ) from exc
        except ssl.SSLError as exc:
            raise UpstreamUnavailable(
                f"{self._url} does not speak TLS, or not as we do ({exc.reason}); is it http:// there?"
            ) from exc
        except (OSError, http.client.HTTPException) as exc:
            raise UpstreamUnavailable(f"{self._url} does not answer: {exc}.") from exc
        if response.status < HTTPStatus.MULTIPLE_CHOICES:
            return answer
        said = _message(answer)
        if said is None:
            raise UpstreamUnavailable(
                f"{self._url} answers HTTP {response.status}, but not as Penstock does. Is it one, and is"
                " it up behind its proxy?"
            )
        if response.status == HTTPStatus.UNAUTHORIZED:
            said = f"{said} It was {self._whose}; name another one with --key."
        raise InvalidRequest(said)

    def _json(self, answer: str | bytes) -> Any:
        try:
            return json.loads(answer)
        except ValueError as exc:
            raise UpstreamUnavailable(f"{self._url} is no Penstock: what it answers is no JSON.") from exc

    @property
    def _url(self) -> str:
        return self._parts.geturl()


def opened(url: str | None, key: str | None, data_dir: Path | None) -> AdminClient:
    """Raises InvalidRequest where no server or no key is known, or is said to be an empty text."""
    for option, text in (("--url", url), ("--key", key)):
        if text is not None and not text.strip():  # a variable that is not set: nobody meant another one
            raise InvalidRequest(f"{option} is empty.")
    folder = (data_dir or Path(os.environ.get("PENSTOCK_DATA_DIR") or DEFAULT_DATA_DIR)).expanduser()
    said = url or os.environ.get("PENSTOCK_URL")
    if said is None:
        running = minted.running(folder)
        if running is None:
            raise InvalidRequest(
                f"No server of {folder} runs here. Start one (`penstock up`), or name one with --url."
            )
        said = running.url
    host = _host(said)
    for secret, whose in (
        (key, "that of --key"),
        (os.environ.get("PENSTOCK_KEY"), "that of PENSTOCK_KEY"),
        (_minted(folder, host), f"that of {folder / 'key'}"),
    ):
        if secret:
            return AdminClient(said, secret.strip(), whose)
    raise InvalidRequest("No key is known. Name one with --key; it needs a role that may do this.")


def _host(url: str) -> str:
    try:
        return urlsplit(url if "://" in url else f"http://{url}").hostname or ""
    except ValueError:  # half of an IPv6 address
        raise InvalidRequest(f"--url {url}: this is no address such as http://127.0.0.1:8600.") from None


def _minted(folder: Path, host: str) -> str | None:
    """The key of the server that runs here, for that server, or whatever listens on this machine."""
    running = minted.running(folder)
    is_here = host == "localhost" or is_loopback(host)
    if is_here or (running is not None and host == _host(running.url)):
        return minted.read_key(folder)
    return None


def step(word: str) -> str:
    """A part of a path."""
    return quote(word, safe="")


def _has_port(parts: SplitResult) -> bool:
    """A port is looked at only when it is asked for."""
    try:
        return parts.port != 0
    except ValueError:
        return False


def _message(body: bytes) -> str | None:
    """None: it is no error of ours."""
    try:
        return plain(str(json.loads(body)["error"]["message"]))
    except (ValueError, KeyError, TypeError):
        return None
