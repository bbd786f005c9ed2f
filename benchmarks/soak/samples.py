"""What is measured while the node runs: memory, threads, descriptors, latencies, a control loop."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Sample:
    """One process at one moment, seconds after the start."""

    seconds: float
    rss_mb: float
    anon_mb: float  # of it what the process has for itself: no libraries, no shared memory
    threads: int
    descriptors: int


def sample(pid: int, seconds: float) -> Sample:
    """From Linux's /proc. Raises OSError when the process has gone."""
    proc = Path(f"/proc/{pid}")
    status = dict(re.findall(r"^(\w+):\s+(\d+)", (proc / "status").read_text(), re.M))
    if "VmRSS" not in status:
        raise ProcessLookupError(f"process {pid} has ended")
    mb = [int(status[name]) / 1024 for name in ("VmRSS", "RssAnon")]
    return Sample(round(seconds, 2), *mb, int(status["Threads"]), len(os.listdir(proc / "fd")))


@dataclass
class Record:
    """What was measured and seen, in the order of time; times in seconds after the start."""

    samples: list[Sample] = field(default_factory=list)
    sent: list[tuple[int, float, str]] = field(default_factory=list)  # stamp in ns, time, fault
    arrived: list[tuple[int, float]] = field(default_factory=list)  # stamp of a result, time
    control: list[tuple[float, float]] = field(default_factory=list)  # time, ms
    start: float = field(default_factory=time.monotonic)

    def now(self) -> float:
        """Seconds after the start."""
        return time.monotonic() - self.start

    def good(self) -> dict[int, float]:
        """When each good frame was sent, by stamp."""
        return {stamp: at for stamp, at, fault in self.sent if fault != "bad"}

    def latencies(self) -> list[tuple[float, float]]:
        """When the results of good frames came, and after how many ms."""
        good = self.good()
        return [(at, 1e3 * (at - good[stamp])) for stamp, at in self.arrived if stamp in good]

    def counts(self) -> dict:
        """How many frames were sent and answered, and of the good ones right after bad ones."""
        good, results = self.good(), Counter(stamp for stamp, _ in self.arrived)
        recovering = [
            stamp
            for (*_, before), (stamp, _, fault) in pairwise(self.sent)
            if before == "bad" != fault
        ]
        return {
            "frames": len(self.sent),
            "events": dict(Counter(fault or "none" for *_, fault in self.sent)),
            "answered": len(good.keys() & results.keys()),
            "unasked": (results - Counter(list(good))).total(),  # for bad frames, or none, or twice
            "recovered": sum(stamp in results for stamp in recovering),
            "bad_before_good": len(recovering),
        }

    def document(self) -> dict:
        """For JSON: samples as they are, times as percentiles of ten seconds."""
        return {
            "samples": [asdict(one) for one in self.samples],
            "latency_ms": percentiles(self.latencies()),
            "control_ms": percentiles(self.control),
        }


def percentiles(times: list[tuple[float, float]], seconds: float = 10.0) -> list[dict[str, float]]:
    """p50, p95 and p99 of every ten seconds."""
    bins: dict[int, list[float]] = {}
    for at, ms in times:
        bins.setdefault(int(at // seconds), []).append(ms)
    return [
        {"seconds": (number + 0.5) * seconds, "count": len(values)}
        | {f"p{q}": round(quantile(values, q / 100), 3) for q in (50, 95, 99)}
        for number, values in sorted(bins.items())
    ]


def quantile(values: list[float], q: float) -> float:
    """The smallest value that a share q of the values does not exceed."""
    return float(np.quantile(values, q, method="inverted_cdf"))


class Control:
    """The control loop in a process of its own."""

    def __init__(self, record: Record) -> None:
        command = [sys.executable, "-m", "benchmarks.soak.control"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._record = record
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout:
            self._record.control.append((self._record.now(), float(line)))

    def close(self) -> None:
        """Stop it."""
        self._process.kill()
        self._process.wait()
