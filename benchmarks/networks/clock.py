"""How long the stages of a frame take, in wall and CPU time, and what the process needs for it."""

from __future__ import annotations

import re
import resource
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch


class StageClock:
    """Times one frame after the other: `start`, `mark` at the end of each stage, `stop`.

    On a GPU a mark is an event of the stream, so only `stop` waits for the device. While a CUDA
    graph is recorded nothing is marked, and a replayed one is a single stage.
    """

    def __init__(self, device: str) -> None:
        self._cuda = device.startswith("cuda")
        self._marks: list[tuple] = []  # stage, wall and CPU seconds, event

    def start(self) -> None:
        self._faults = minor_faults()
        self._marks = [("", *self._now())]

    def mark(self, stage: str) -> None:
        """The time since the last mark belongs to this stage; a stage may come several times."""
        if not (self._cuda and torch.cuda.is_current_stream_capturing()):
            self._marks.append((stage, *self._now()))

    def stop(self) -> dict:
        """wall_ms, cpu_ms, faults and stages {name: [wall_ms, cpu_ms]}; the rest is `rest`."""
        self.mark("rest")
        if self._cuda:
            torch.cuda.synchronize()
        wall, cpu = time.perf_counter(), time.process_time()
        stages: dict[str, list[float]] = {}
        for (_, wall_0, cpu_0, event_0), (name, wall_1, cpu_1, event_1) in pairwise(self._marks):
            took = stages.setdefault(name, [0.0, 0.0])
            took[0] += event_0.elapsed_time(event_1) if self._cuda else (wall_1 - wall_0) * 1e3
            took[1] += (cpu_1 - cpu_0) * 1e3
        _, wall_0, cpu_0, _ = self._marks[0]
        return {
            "wall_ms": (wall - wall_0) * 1e3,
            "cpu_ms": (cpu - cpu_0) * 1e3,
            "faults": minor_faults() - self._faults,
            "stages": stages,
        }

    def _now(self) -> tuple:
        event = None
        if self._cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
        return time.perf_counter(), time.process_time(), event


def minor_faults() -> int:
    """Pages that this process had to be given so far, without reading a disk."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def peak_memory_mb() -> float:
    """The most memory that this process ever held, in MB.

    Not `ru_maxrss`, which Linux hands down from the process that started this one.
    """
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def device_counts(run: Callable[[], object]) -> dict[str, int]:
    """Kernel launches and host syncs of one frame on a GPU, without those of the profiler itself.

    A launched CUDA graph counts as one launch.
    """
    own, all_calls = _runtime_calls(lambda: None), _runtime_calls(run)
    return {name: all_calls[name] - own[name] for name in own}


def _runtime_calls(run: Callable[[], object]) -> dict[str, int]:
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        run()
    calls = [(event.key, event.count) for event in profile.key_averages()]
    return {
        "launches": sum(count for key, count in calls if "Launch" in key),
        "syncs": sum(count for key, count in calls if "Synchronize" in key),
    }
