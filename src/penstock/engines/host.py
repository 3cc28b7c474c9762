"""What every worker process shares: its fate with its parent's, its ready line, its share of the machine."""

import ctypes
import json
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

KEY_VARIABLE: Final = "PENSTOCK_ENGINE_KEY"  # bearer key that every request must carry
_PR_SET_PDEATHSIG: Final = 1


def die_with_parent() -> None:
    """Two ways, because a killed parent cleans nothing up.

    End of file on stdin works everywhere. PR_SET_PDEATHSIG also reaches a process that is stuck in native
    code; the kernel sends it when the parent's *thread* that spawned us ends, so spawn from the main thread.
    """
    threading.Thread(target=_watch_stdin, name="parent watch", daemon=True).start()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def say(line: dict[str, Any]) -> None:
    """The ready line: one JSON object on stdout."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def default_threads() -> int:
    """Physical cores this process may use, less one for the rest of the machine; at least 1."""
    return max(1, usable_cores() - 1)


def usable_cores() -> int:
    """Physical cores within this process's affinity and cgroup quota; at least 1."""
    if not hasattr(os, "sched_getaffinity"):
        return max(1, (os.cpu_count() or 2) // 2)
    cores = set()
    for cpu in os.sched_getaffinity(0):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.add(siblings.read_text() if siblings.exists() else str(cpu))
    return max(1, min(len(cores), int(_cgroup_cpus() or len(cores))))


def _cgroup_cpus() -> float | None:
    """The CPU quota of this container in CPUs, where there is one (cgroup v2, then v1)."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").read_text().strip()
            period = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    return None if quota in {"max", "-1"} else int(quota) / int(period)


def _watch_stdin() -> NoReturn:
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    os.write(2, b"worker: stdin ended, so the parent is gone\n")
    os._exit(0)
