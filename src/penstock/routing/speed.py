"""How fast each deployment has been: moving averages of the time to first content, and of tokens a second."""

NEWEST = 0.2  # weight of the newest answer
TRIED_AGAIN_S = 30.0  # after which one that was late is tried again, once


class Speeds:
    """By the name of the deployment."""

    __slots__ = ("_first_s", "_seen_s", "_token_s", "_tried_s")

    def __init__(self) -> None:
        self._first_s: dict[str, float] = {}
        self._token_s: dict[str, float] = {}
        self._seen_s: dict[str, float] = {}
        self._tried_s: dict[str, float] = {}

    def saw(self, name: str, first_s: float, rest_s: float, tokens: int, *, now_s: float) -> None:
        """`rest_s`: from the first content to the end, in which `tokens` came."""
        is_stale = now_s - self._seen_s.get(name, now_s) > TRIED_AGAIN_S
        self._seen_s[name] = now_s
        self._first_s[name] = first_s if is_stale else _mixed(self._first_s.get(name), first_s)
        if tokens > 1 and rest_s > 0:
            self._token_s[name] = _mixed(self._token_s.get(name), rest_s / tokens)

    def is_late(self, name: str, latency_s: float, now_s: float) -> bool:
        """Whether its first token has been taking longer; every TRIED_AGAIN_S one who asks is told no."""
        if self._first_s.get(name, 0.0) <= latency_s:
            return False
        if now_s - max(self._seen_s[name], self._tried_s.get(name, -TRIED_AGAIN_S)) < TRIED_AGAIN_S:
            return True
        self._tried_s[name] = now_s
        return False

    def expected_s(self, name: str, tokens: int) -> float | None:
        """Of an answer of so many tokens; None where nothing was seen."""
        first_s = self._first_s.get(name)
        return None if first_s is None else first_s + tokens * self._token_s.get(name, 0.0)


def _mixed(known: float | None, new: float) -> float:
    return new if known is None else known + NEWEST * (new - known)
