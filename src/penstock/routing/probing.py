"""When a deployment is asked a little something of our own, to learn whether it answers. Pure.

    its breaker      the next probe
    ---------------  --------------------------------------------------------------------------------
    is closed        `every` after the last answer or probe, whichever was later: real answers are as good
    is open          when its time is over, so that no customer's request has to find out
    is half open,    `every` after the last probe
    and was probed

Each time is moved by chance, so that many gateways do not beat in time.
"""

JITTER = 0.2  # of the interval, either way
LONGEST_LAG_S = 1.0  # behind the end of an open breaker's time


def next_probe_s(
    every_s: float,
    *,
    began_s: float,
    answered_s: float | None,
    probed_s: float | None,
    reopens_s: float | None,
    roll: float,
) -> float:
    """Monotonic seconds. `began_s`: since when it is watched; `answered_s`, `probed_s`: the last of each;
    `reopens_s`: when an open breaker lets an attempt through; `roll`: a number in [0, 1).
    """
    interval_s = every_s * (1 + JITTER * (2 * roll - 1))
    if reopens_s is None:
        known = [one for one in (began_s, answered_s, probed_s) if one is not None]
        return max(known) + interval_s
    if probed_s is not None and probed_s >= reopens_s:
        return probed_s + interval_s
    return reopens_s + LONGEST_LAG_S * roll
