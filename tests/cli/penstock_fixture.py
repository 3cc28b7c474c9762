"""The type of the `penstock` fixture."""

from collections.abc import Callable

from click.testing import Result

Penstock = Callable[..., Result]
