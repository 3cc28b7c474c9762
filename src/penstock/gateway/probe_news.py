"""What the processes of one server tell each other of probes, so that one of them asks and all know.

    Begun      a deployment is being asked: nobody else need
    Ended      what came of it: each notes it in its own breakers, as if it had asked
    Answered   when real requests were answered last: nobody need ask

Two that find a probe due in the same millisecond both ask: a small request too many, and no harm.
"""

from typing import Literal

import msgspec

from penstock.types.errors import (
    ModelLoading,
    PenstockError,
    UpstreamCredentials,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamUnavailable,
)

SUBJECT = "probes"

Outcome = Literal["ok", "limited", "credentials", "failed", "unknown"]


class News(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Any of these. Names are of deployments; times are monotonic, which is one clock for the machine."""


class Begun(News, frozen=True):
    """`replica`: that was asked for; empty: whoever was next."""

    name: str
    replica: str


class Ended(News, frozen=True):
    """`part`: the replica or credential that answered, or did not; empty: nothing was sent."""

    name: str
    part: str
    outcome: Outcome
    retry_after_s: float | None


class Answered(News, frozen=True):
    at_s: dict[str, float]


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Begun | Ended | Answered).decode


def outcome_of(error: PenstockError | None) -> Outcome:
    """As much as a breaker wants to know."""
    match error:
        case None:
            return "ok"
        case UpstreamRateLimited():
            return "limited"
        case UpstreamCredentials():
            return "credentials"
        case UpstreamError():
            return "failed"
    return "unknown"


def error_of(news: Ended) -> PenstockError | None:
    match news.outcome:
        case "ok":
            return None
        case "limited":
            return UpstreamRateLimited("A probe was refused.", retry_after_s=news.retry_after_s)
        case "credentials":
            return UpstreamCredentials("A probe was refused.")
        case "failed":
            return UpstreamUnavailable("A probe failed.")
        case "unknown":
            return ModelLoading("A probe could not be made.")
