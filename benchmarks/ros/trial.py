"""One measurement at one rate, and the search for the highest rate."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from benchmarks.ros.session import Session
from jointseg_ros.monitor import STAGES
from jointseg_ros.msg import InferenceStats

MAX_LOSS = 0.05
"""The search wants results for all frames but this share."""
IN_TIME = 0.95
"""Cameras that reach less than this share of their rate are themselves too slow."""
FIRST_HZ, LAST_HZ = 10.0, 320.0
PRECISE = 1.08
"""The search ends when the rate that failed is no more than this times the one that did not."""


def trial(session: Session, rate_hz: float, seconds: float) -> dict[str, Any]:
    """Publish at this rate (Hz, of each camera) for so long; what became of the frames."""
    before = session.counts
    session.listener.forget()
    session.cameras.published.clear()
    usage = session.usage()
    took = session.cameras.run(rate_hz, seconds)
    load = usage.so_far()
    session.settle()
    published, arrived = dict(session.cameras.published), session.listener.complete()
    counts = {name: count - before.get(name, 0) for name, count in session.counts.items()}
    return {
        "rate_hz": round(rate_hz, 2),
        "achieved_hz": round(len(published) / session.setup.cameras / took, 2),
        "seconds": round(took, 2),
        **fate(len(published), counts, sum(frame in arrived for frame in published)),
        "latency_ms": quantiles(
            (arrived[frame] - moment) / 1e6
            for frame, moment in published.items()
            if frame in arrived
        ),
        "stages_ms": stages(session.listener.stats),
        "objects_per_frame": _mean(session.listener.objects),
        "load": load,
    }


def fate(published: int, counts: dict[str, int], results: int) -> dict[str, Any]:
    """Where the frames ended; counts are the node's, of this trial.

    lost_on_the_way  published, and never given to the node's callback
    loss             share of the frames for which no results arrived
    """
    dropped = {
        name.removeprefix("dropped "): count
        for name, count in counts.items()
        if name.startswith("dropped ") and count
    }
    return {
        "published": published,
        "received": counts["received"],
        "lost_on_the_way": published - counts["received"],
        "processed": counts["processed"],
        "dropped": dropped,
        "results": results,
        "loss": round(1 - results / published, 4),
    }


def stages(stats: list[InferenceStats]) -> dict[str, Any]:
    """Milliseconds of a batch by stage, as the node says; preprocess includes decoding messages."""
    return {name: quantiles(getattr(s, f"{name}_ms") for s in stats) for name in STAGES} | {
        "frames_per_batch": _mean([s.batch_size for s in stats])
    }


def quantiles(values: Iterable[float]) -> dict[str, float] | None:
    """p50, p95 and p99; None without values."""
    numbers = list(values)
    if not numbers:
        return None
    found = np.quantile(numbers, (0.5, 0.95, 0.99))
    return {name: round(float(v), 2) for name, v in zip(("p50", "p95", "p99"), found, strict=True)}


def _mean(values: list[int]) -> float | None:
    return round(sum(values) / len(values), 2) if values else None


def keeps_up(result: dict[str, Any]) -> bool:
    """Whether the cameras kept the rate, and at most 5 % of the frames were lost."""
    return result["loss"] <= MAX_LOSS and result["achieved_hz"] >= IN_TIME * result["rate_hz"]


def highest_rate(session: Session, seconds: float) -> dict[str, Any]:
    """The highest rate (Hz, of each camera) that is kept up with, by doubling, then halving.

    Returns it (None where even 1 Hz was too much), the trial at that rate, and all that were tried.
    """
    good, bad, best, tried = None, None, None, []
    rate = FIRST_HZ
    while rate:
        result = trial(session, rate, seconds)
        tried.append({name: result[name] for name in ("rate_hz", "achieved_hz", "loss")})
        if keeps_up(result):
            good, best = rate, result
        else:
            bad = rate
        rate = _next_rate(good, bad)
    return {"rate_hz": good and round(good, 1), "trial": best, "tried": tried}


def _next_rate(good: float | None, bad: float | None) -> float | None:
    """None where the search is over."""
    if bad is None:
        return good * 2 if good < LAST_HZ else None
    if good is None:
        return bad / 2 if bad > 1 else None
    return math.sqrt(good * bad) if bad > PRECISE * good else None
