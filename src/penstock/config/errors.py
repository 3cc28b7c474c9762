"""What is wrong with a configuration: all of it at once, each with its place and what to do.

ConfigError
`- problems: Problem*   in the order of the file; Problem.path as in `routes.chat.targets[0].weight`
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Problem(NamedTuple):
    path: str  # empty: the file as a whole
    message: str
    line: int | None = None  # 1-based


class ConfigError(Exception):
    def __init__(self, problems: Iterable[Problem], origin: str = "configuration") -> None:
        self.problems = tuple(problems)
        self.origin = origin
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """One line per problem: `penstock.yaml:12: routes.chat: ...`."""
        ordered = sorted(self.problems, key=lambda problem: problem.line or 0)
        return [_line(self.origin, problem) for problem in ordered]

    def located(self, lines: Mapping[str, int], origin: str) -> "ConfigError":
        """The same with line numbers, for problems found after the file was read."""
        return ConfigError(
            [
                problem._replace(line=problem.line or _nearest(lines, problem.path))
                for problem in self.problems
            ],
            origin,
        )


def _line(origin: str, problem: Problem) -> str:
    place = origin if problem.line is None else f"{origin}:{problem.line}"
    return f"{place}: {problem.path}: {problem.message}" if problem.path else f"{place}: {problem.message}"


def _nearest(lines: Mapping[str, int], path: str) -> int | None:
    """The line of the path, or of the closest setting around it."""
    while path:
        if path in lines:
            return lines[path]
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return None
