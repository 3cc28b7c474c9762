"""The bounds that the project sets itself, and whether a run met them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reach:
    """`value` must not be above `bound` (or below it, with `at_least`). A missing peer leaves value None."""

    what: str
    bound: float
    value: float | None
    unit: str = "x"
    at_least: bool = False

    @property
    def is_met(self) -> bool | None:
        if self.value is None:
            return None
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def row(self) -> str:
        sign = ">=" if self.at_least else "<="
        measured = "not measured" if self.value is None else f"{self.value:.3g} {self.unit}"
        verdict = {True: "met", False: "**missed**", None: "-"}[self.is_met]
        return f"| {self.what} | {sign} {self.bound:g} {self.unit} | {measured} | {verdict} |"
