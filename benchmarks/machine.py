"""What a benchmark ran on, and who else used it; from Linux's /proc."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds
BUSY = 0.25
"""With so many cores taken by others, the machine counts as busy."""


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "system": platform.platform(),
        "processor": names[0] if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
    }


def load_average() -> float:
    """Processes that wanted to run in the last minute."""
    return round(os.getloadavg()[0], 2)


class Usage:
    """CPU time from its creation on. processes: name -> process id."""

    def __init__(self, processes: Mapping[str, int]) -> None:
        self._processes = dict(processes)
        self._start, self._load = time.monotonic(), load_average()
        self._before, self._machine = self._now(), machine_seconds()

    def _now(self) -> dict[str, float]:
        return {name: process_seconds(pid) for name, pid in self._processes.items()}

    def so_far(self) -> dict[str, Any]:
        """CPU seconds by process, cores that others took on average, load averages."""
        seconds = time.monotonic() - self._start
        own = {name: used - self._before[name] for name, used in self._now().items()}
        others = (machine_seconds() - self._machine - sum(own.values())) / seconds
        return {
            "wall_seconds": round(seconds, 2),
            "cpu_seconds": {name: round(used, 2) for name, used in own.items()},
            "cores_used_by_others": round(max(0.0, others), 2),
            "load_average": [self._load, load_average()],
            "busy_machine": others > BUSY,
        }


def process_seconds(pid: int) -> float:
    """User and system time of a process with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK


def machine_seconds() -> float:
    """CPU time that the machine has spent at work, over all cores."""
    user, nice, system, _idle, _wait, irq, soft, *_ = Path("/proc/stat").read_text().split()[1:]
    return sum(int(ticks) for ticks in (user, nice, system, irq, soft)) * TICK
