"""What readers of embeddings check: a vector for each input, float32 numbers, the dimensions asked for."""

from typing import Any

from penstock.types.errors import UnsupportedParameter, UpstreamInvalid
from penstock.types.requests import EmbeddingRequest

FLOAT32_MAX = 3.4028234663852886e38


def read_vectors(rows: Any, request: EmbeddingRequest, name: str) -> list[list[float]]:
    """Lists of numbers, one per input. Raises UpstreamInvalid, UnsupportedParameter (`dimensions`)."""
    wanted = len(request.inputs)
    if not isinstance(rows, list) or len(rows) != wanted:
        sent = len(rows) if isinstance(rows, list) else "no"
        raise UpstreamInvalid(f"{name} sent {sent} embeddings for {wanted} inputs.")
    try:
        vectors = [read_vector(row) for row in rows]
    except (TypeError, OverflowError) as exc:
        raise UpstreamInvalid(f"{name} sent an embedding that is no list of numbers.") from exc
    check_dimensions({len(vector) for vector in vectors}, request, name)
    return vectors


def read_vector(given: Any) -> list[float]:
    """Raises TypeError for anything but a list of float32 numbers, OverflowError for one too large."""
    if given.__class__ is not list:
        raise TypeError("not a list")
    kinds = set(map(type, given))
    if not kinds <= {int, float} or max(map(abs, given), default=0) > FLOAT32_MAX:
        raise TypeError("not a list of float32 numbers")
    vector: list[float] = [float(number) for number in given] if int in kinds else given
    return vector


def check_dimensions(sizes: set[int], request: EmbeddingRequest, name: str) -> None:
    if len(sizes) != 1 or 0 in sizes:
        raise UpstreamInvalid(f"{name} sent embeddings of different or no length.")
    asked = request.dimensions
    if asked is not None and sizes != {asked}:
        raise UnsupportedParameter(
            f"`dimensions`: this model gives {sizes.pop()} dimensions and cannot give {asked}.",
            param="dimensions",
        )


def texts_of(request: EmbeddingRequest) -> list[str]:
    """Raises UnsupportedParameter for token ids."""
    if request.inputs and not isinstance(request.inputs[0], str):
        raise UnsupportedParameter("`input`: this model takes texts, not token ids.", param="input")
    return request.inputs  # type: ignore[return-value]
