"""What a call costs, from its attempts. Pure.

    the attempt                                    its cost is
    ---------------------------------------------  -----------------------------------------------------------
    the client was told of, also of a part         the call's: what was delivered, counted or estimated
    answered, and nobody was told                  wasted: its answer did not fit the schema, or another was
                                                   faster, or the client had left
    failed before it said anything                 nothing: vendors bill no errors

A price that is not known makes a cost that is not known: None, never 0.
"""

from collections.abc import Iterator

from penstock.types.call import Attempt, Call
from penstock.types.money import Cost, cost_of

NOTHING = Cost()


def forget_untold(call: Call) -> None:
    """What was used for a call that told its client nothing is wasted: it is in no row, metric or limit."""
    is_lost = call.error is not None and not call.is_stream  # what was answered could not be written
    if is_lost or not any(attempt.is_told for attempt in call.attempts):
        call.usage = None


def cost_of_call(call: Call) -> Cost | None:
    """Of what the client was told. None = not known."""
    for attempt in call.attempts:
        if attempt.is_told:
            if call.error is not None and not call.is_stream:
                break  # what was answered could not be written for the client
            if attempt.price is None or attempt.usage is None:
                return None
            return cost_of(attempt.price, attempt.usage)
    return NOTHING


def wasted(call: Call) -> Iterator[tuple[Attempt, int]]:
    """Attempts that were for nothing, and what each costs in pico-USD, as far as that is known."""
    for attempt in call.attempts:
        is_lost = not attempt.is_told or (call.error is not None and not call.is_stream)
        if is_lost and attempt.price is not None and attempt.usage is not None:
            cost = cost_of(attempt.price, attempt.usage)
            if cost is not None and cost.total:
                yield attempt, cost.total
