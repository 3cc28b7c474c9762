"""Reads what is never streamed: embeddings, rankings, labels, verdicts. A subclass reads the one answer."""

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar

from penstock.types.errors import UpstreamInvalid
from penstock.types.events import Delta
from penstock.types.requests import Request

R = TypeVar("R", bound=Request)


class WholeReader(ABC, Generic[R]):
    """`name` is what error messages call the upstream, `what` the answer."""

    what: ClassVar[str] = "an embedding"

    def __init__(self, request: R, name: str) -> None:
        self._request = request
        self._name = name
        self.is_complete = False
        self.is_done = False

    def event(self, data: bytes) -> Delta | None:  # noqa: ARG002 - there is none
        raise UpstreamInvalid(f"{self._name} streamed {self.what}.")

    def answer(self, body: bytes) -> Delta:
        delta = self.read(body)
        self.is_complete = True
        return delta

    @abstractmethod
    def read(self, body: bytes) -> Delta:
        """Raises UpstreamInvalid."""
