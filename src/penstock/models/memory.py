"""How much memory a model may take on this machine now. The only impure part of choosing a model."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

_CGROUP: Final = Path("/sys/fs/cgroup")


def available_bytes() -> int:
    """Memory that can be taken without swapping: the system's, within this container's limit."""
    if sys.platform == "darwin":
        answer = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "hw.memsize"], capture_output=True, text=True, check=True
        )
        return int(int(answer.stdout) * 0.75)  # macOS has no MemAvailable; GPU memory is capped at 75 %, too
    found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    free = int(found[1]) * 1024 if found else 0
    limit = _container_free()
    return free if limit is None else min(free, limit)


def _container_free() -> int | None:
    """Limit less use, not counting the page cache that the kernel would give back. cgroup v2, then v1."""
    for limit_name, used_name in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            limit = (_CGROUP / limit_name).read_text().strip()
            used = int((_CGROUP / used_name).read_text())
            stat = (_CGROUP / limit_name).with_name("memory.stat").read_text()
        except (OSError, ValueError):
            continue
        if limit == "max":
            return None
        cache = re.search(r"^(?:total_)?inactive_file (\d+)", stat, re.MULTILINE)
        return max(0, int(limit) - used + (int(cache[1]) if cache else 0))
    return None
