"""What a text resembles more, easy examples or hard ones, by the vectors of an embedding model. Pure.

The line from the mean of the easy vectors to the mean of the hard ones is the scale: 0 is where the easy ones
lie on it, on average, 1 where the hard ones do. It needs no constant that would be another for each model.
"""

import math
from collections.abc import Sequence
from operator import mul, sub
from typing import NamedTuple

Vector = Sequence[float]


class Scale(NamedTuple):
    direction: Vector
    easy: float  # where the mean of the easy ones lies on it
    width: float  # from there to the mean of the hard ones

    def score(self, vector: Vector) -> float:
        """From 0, easy, to 1, hard."""
        return min(1.0, max(0.0, (_dot(self.direction, _unit(vector)) - self.easy) / self.width))


def scale_of(easy: Sequence[Vector], hard: Sequence[Vector]) -> Scale | None:
    """None where the model does not tell the two apart."""
    low, high = _mean(easy), _mean(hard)
    direction = list(map(sub, high, low))
    width = _dot(direction, direction)
    return Scale(direction, _dot(direction, low), width) if width > 0 else None


def _mean(vectors: Sequence[Vector]) -> list[float]:
    units = [_unit(vector) for vector in vectors]
    return [math.fsum(column) / len(units) for column in zip(*units, strict=True)]


def _unit(vector: Vector) -> Vector:
    """Of length one; a vector of zeros stays as it is."""
    length = math.sqrt(_dot(vector, vector)) or 1.0
    return [value / length for value in vector]


def _dot(one: Vector, other: Vector) -> float:
    total: float = sum(map(mul, one, other))
    return total
