import signal

import pytest

from penstock.lib.exits import ending


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (0, "exited with status 0"),
        (2, "exited with status 2"),
        (-signal.SIGKILL, "was killed by SIGKILL"),
        (-60, "was killed by signal 60"),
    ],
)
def test_every_end_has_words(code: int, said: str) -> None:
    assert ending(code) == said
