"""A conversation over the OpenAI API from a terminal: plain http.client, as nothing else waits."""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import quote, urlsplit

from penstock.lib.sse import SSESplitter

READ_BYTES = 65536
CONNECT_S = 5
SILENCE_S = 1800  # a model that is loading, or a slow prefill


class ChatFailed(Exception):
    """The server's own words."""


class Door:
    """A running server, a key and a model's public name."""

    def __init__(self, url: str, key: str, model: str) -> None:
        self.url = url
        self.key = key
        self.model = model

    def knows_model(self) -> bool:
        """Whether a Penstock answers there and serves the model to this key."""
        try:
            with closing(self._connection(CONNECT_S)) as connection:
                connection.request("GET", f"/v1/models/{quote(self.model)}", headers=self._headers())
                return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False

    def stream(self, messages: list[dict[str, str]]) -> Iterator[str]:
        """The answer, piece by piece. Raises ChatFailed."""
        try:
            with closing(self._connection(SILENCE_S)) as connection:
                yield from self._pieces(self._post(connection, messages, stream=True))
        except (OSError, http.client.HTTPException) as exc:
            raise ChatFailed(f"the connection to {self.url} broke: {exc}") from exc

    def answer(self, messages: list[dict[str, str]]) -> Any:
        """The whole answer, as the API gives it. Raises ChatFailed."""
        try:
            with closing(self._connection(SILENCE_S)) as connection:
                return json.loads(self._post(connection, messages, stream=False).read())
        except (OSError, http.client.HTTPException) as exc:
            raise ChatFailed(f"the connection to {self.url} broke: {exc}") from exc

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(parts.hostname or "", parts.port, timeout=timeout_s)

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}", "content-type": "application/json"}

    def _post(
        self, connection: http.client.HTTPConnection, messages: list[dict[str, str]], *, stream: bool
    ) -> http.client.HTTPResponse:
        body = json.dumps({"model": self.model, "messages": messages, "stream": stream})
        connection.request("POST", "/v1/chat/completions", body, self._headers())
        response = connection.getresponse()
        if response.status != 200:
            raise ChatFailed(_message(response.read()))
        return response

    def _pieces(self, response: http.client.HTTPResponse) -> Iterator[str]:
        splitter = SSESplitter()
        while data := response.read1(READ_BYTES):
            for event in splitter.feed_data(data):
                if event == b"[DONE]":
                    return
                chunk = json.loads(event)
                if "error" in chunk:
                    raise ChatFailed(chunk["error"].get("message", "the answer failed"))
                for choice in chunk.get("choices", ()):
                    if text := choice.get("delta", {}).get("content"):
                        yield text
        raise ChatFailed("the answer ended too early")


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:500]
