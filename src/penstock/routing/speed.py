"""How fast each deployment has been: moving averages of the time to first content, and of tokens a second."""

NEWEST = 0.2  # weight of the newest answer


class Speeds:
    """By the name of the deployment."""

    __slots__ = ("_first_s", "_token_s")

    def __init__(self) -> None:
        self._first_s: dict[str, float] = {}
        self._token_s: dict[str, float] = {}

    def saw(self, name: str, first_s: float, rest_s: float, tokens: int) -> None:
        """`rest_s`: from the first content to the end, in which `tokens` came."""
        self._first_s[name] = _mixed(self._first_s.get(name), first_s)
        if tokens > 1 and rest_s > 0:
            self._token_s[name] = _mixed(self._token_s.get(name), rest_s / tokens)

    def expected_s(self, name: str, tokens: int) -> float | None:
        """Of an answer of so many tokens; None where nothing was seen."""
        first_s = self._first_s.get(name)
        return None if first_s is None else first_s + tokens * self._token_s.get(name, 0.0)


def _mixed(known: float | None, new: float) -> float:
    return new if known is None else known + NEWEST * (new - known)
