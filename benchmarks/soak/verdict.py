"""Did it pass? Memory, threads, descriptors and latencies after warm-up, one sentence each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.soak.samples import Record, Sample, quantile

WARM_UP_SHARE, WARM_UP_SECONDS = 0.2, 300.0
"""The first part of a run is not judged: this share of it, at most so long."""
BLOCKS = 20
"""Neighbouring samples are alike; the means of so many blocks are nearly independent."""
SLOPE_FROM_SECONDS = 1800.0
"""Shorter runs are judged by growth: a slope in MB/h would be read off minutes."""
MAX_SLOPE_MB_H, MAX_GROWTH = 5.0, 0.1
"""A model that was loaded beside another leaves the memory at one of several levels."""
STEADY, MAX_DRIFT = 1.1, 1.1
"""Largest ratio of the p50 of the second half to that of the first: of control loop and node. The
p99 is that of the frames during a reload."""


class Finding(NamedTuple):
    """One thing that was judged; passed is None where it could not be."""

    name: str
    passed: bool | None
    text: str


def warm_up_seconds(seconds: float) -> float:
    """How much of a run of so many seconds is not judged."""
    return min(WARM_UP_SHARE * seconds, WARM_UP_SECONDS)


def findings(record: Record, seconds: float) -> Iterator[Finding]:
    """All that the numbers say about a run of so many seconds."""
    warm = [one for one in record.samples if one.seconds >= warm_up_seconds(seconds)]
    if len(warm) < 4:
        yield Finding("samples", False, f"{len(warm)} samples after warm-up are too few")
        return
    yield memory(warm, seconds)
    for name in ("threads", "descriptors"):
        yield constant(name, [getattr(one, name) for one in warm])
    yield drift(record, seconds)


def of_frames(counts: dict, code: int | None, said: str) -> Iterator[Finding]:
    """What does not depend on the machine's speed: counts of `Record` and of the node, the node's
    exit code (None where it had to be killed), and what it printed."""
    node = Counter(counts["node"])
    yield Finding("stop", code == 0, f"exit code {code} after SIGTERM")
    yield Finding("log", "Traceback" not in said, f"{said.count('Traceback')} tracebacks")
    text = f"{counts['unasked']} results for frames that were bad or never sent"
    yield Finding("results", counts["unasked"] == 0, text)
    added = node["processed"] + node["dropped"] + node["pending"]
    text = f"{node['received']} received, {added} processed, dropped and pending"
    yield Finding("counters", 0 < node["received"] == added, text)
    asked, answered, expected = (
        counts["requests"].get(name, 0) for name in ("asked", "answered", "as expected")
    )
    text = f"{asked} asked, {answered} answered, {expected} as expected"
    yield Finding("requests", asked == answered == expected, text)
    text = f"{counts['recovered']} of {counts['bad_before_good']} good frames after bad ones came"
    good = counts["frames"] - counts["events"].get("bad", 0)
    if counts["answered"] < 0.95 * good:
        yield Finding("recovery", None, f"{text}; the node answers {counts['answered']} of {good}")
    else:
        yield Finding("recovery", counts["recovered"] >= 0.9 * counts["bad_before_good"], text)


def memory(warm: Sequence[Sample], seconds: float) -> Finding:
    """The slope of long runs, the growth from the first to the last quarter of short ones."""
    quarter = len(warm) // 4
    first, last = (
        float(np.mean([one.anon_mb for one in part])) for part in (warm[:quarter], warm[-quarter:])
    )
    growth = last / first - 1
    slope, low, high = slope_mb_h(warm)
    text = (
        f"{first:.1f} to {last:.1f} MB ({growth:+.2%}), "
        f"slope {slope:+.1f} MB/h, 95 % interval {low:+.1f} to {high:+.1f}"
    )
    if seconds >= SLOPE_FROM_SECONDS:
        return Finding("memory", low <= 0 <= high or high < MAX_SLOPE_MB_H, text)
    text = f"{text}; growth has to stay under {MAX_GROWTH:.0%}"
    return Finding("memory", growth < MAX_GROWTH, text)


def slope_mb_h(samples: Sequence[Sample]) -> tuple[float, float, float]:
    """MB an hour by least squares over the means of blocks, and its 95 % interval."""
    blocks = np.array_split(np.arange(len(samples)), min(BLOCKS, len(samples)))
    hours = np.array([np.mean([samples[i].seconds for i in block]) for block in blocks]) / 3600
    mb = np.array([np.mean([samples[i].anon_mb for i in block]) for block in blocks])
    x = hours - hours.mean()
    slope = float(x @ mb / (x @ x))
    free = len(blocks) - 2
    rest = mb - mb.mean() - slope * x
    error = math.sqrt(float(rest @ rest) / free / float(x @ x))
    return slope, slope - student(free) * error, slope + student(free) * error


def student(free: int) -> float:
    """The 97.5 % quantile of Student's t (Hill's expansion, within 1 % from 4 degrees on)."""
    z = 1.959964
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / free ** (n + 1) for n, term in enumerate(terms))


def constant(name: str, values: Sequence[int]) -> Finding:
    """Whether there are as many at the end as at the beginning, and never many more."""
    quarter = len(values) // 4
    first, last = int(np.median(values[:quarter])), int(np.median(values[-quarter:]))
    text = f"{first} at first, {last} at the end, {min(values)} to {max(values)} between"
    return Finding(name, first == last, text)


def drift(record: Record, seconds: float) -> Finding:
    """p50 of the second half against the first, where the control loop shows a steady machine."""
    node, control = (_halves(times, seconds) for times in (record.latencies(), record.control))
    if node is None or control is None:
        return Finding("latency", None, "too few results to compare")
    text = "p50 {:.1f} ms, then {:.1f} ms; control loop {:.1f} ms, then {:.1f} ms".format(
        *node, *control
    )
    ratio = control[1] / control[0]
    if not 1 / STEADY <= ratio <= STEADY:
        return Finding("latency", None, f"{text}: the machine was not steady, nothing is compared")
    return Finding("latency", node[1] / node[0] <= MAX_DRIFT, text)


def _halves(times: list[tuple[float, float]], seconds: float) -> tuple[float, float] | None:
    """p50 of the first and the second half after warm-up."""
    begin = warm_up_seconds(seconds)
    middle = (begin + seconds) / 2
    first = [ms for at, ms in times if begin <= at < middle]
    second = [ms for at, ms in times if middle <= at]
    if min(len(first), len(second)) < 200:
        return None
    return quantile(first, 0.5), quantile(second, 0.5)
