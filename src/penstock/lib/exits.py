"""How a process ended, in words."""

import signal


def ending(code: int) -> str:
    """`code` as subprocesses have it: below zero, the signal."""
    if code >= 0:
        return f"exited with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # most of the real-time signals have no name
        return f"was killed by signal {-code}"
