"""One measurement at one rate, and the search for the highest rate."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from jointseg_msgs.msg import InferenceStats

from benchmarks.ros.session import Session
from jointseg_ros.monitor import STAGES

MAX_LOSS = 0.05
"""The search wants results for all frames but this share."""
IN_TIME = 0.95
"""Cameras that reach less than this share of their rate are themselves too slow."""
FIRST_HZ, LAST_HZ = 10.0, 320.0
PRECISE = 1.08
"""The search ends when the rate that failed is no more than this times the one that did not."""


def trial(session: Session, rate_hz: float, seconds: float) -> dict[str, Any]:
    """Publish at this rate (Hz, of each camera) for so long; what became of the frames."""
    before, listener = session.counts, session.listener
    listener.forget()
    session.cameras.published.clear()
    usage = session.usage()
    took = session.cameras.run(rate_hz, seconds)
    load = usage.so_far()
    session.settle()
    published, arrived = dict(session.cameras.published), listener.complete()
    answered = published.keys() & arrived.keys()
    counts = {name: count - before.get(name, 0) for name, count in session.counts.items()}
    return {
        "rate_hz": round(rate_hz, 2),
        "achieved_hz": round(len(published) / session.setup.cameras / took, 2),
        "seconds": round(took, 2),
        **fate(len(published), counts, len(answered)),
        "latency_ms": quantiles((arrived[frame] - published[frame]) / 1e6 for frame in answered),
        "stages_ms": stages(listener.stats),
        "objects_per_frame": _mean(listener.objects),
        "load": load,
    }


def fate(published: int, counts: dict[str, int], results: int) -> dict[str, Any]:
    """Where the frames ended; counts are the node's, of this trial.

    lost_on_the_way  published, and never given to the node's callback
    loss             share of the frames for which no results arrived
    """
    dropped = {name.removeprefix("dropped "): n for name, n in counts.items() if "dropped " in name}
    return {
        "published": published,
        "received": counts["received"],
        "lost_on_the_way": published - counts["received"],
        "processed": counts["processed"],
        "dropped": {reason: count for reason, count in dropped.items() if count},
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
    if not (numbers := list(values)):
        return None
    return {f"p{q}": round(float(np.quantile(numbers, q / 100)), 2) for q in (50, 95, 99)}


def _mean(values: list[int]) -> float | None:
    return round(sum(values) / len(values), 2) if values else None


def highest_rate(session: Session, seconds: float) -> dict[str, Any]:
    """The highest rate (Hz, of each camera) that is kept up with, by doubling, then halving.

    Returns it (None where even 1 Hz was too much), the trial at that rate, and all that were tried.
    """
    good, bad, best, tried = None, None, None, []
    rate = FIRST_HZ
    while rate:
        result = trial(session, rate, seconds)
        tried.append({name: result[name] for name in ("rate_hz", "achieved_hz", "loss")})
        in_time = result["achieved_hz"] >= IN_TIME * result["rate_hz"]
        if in_time and result["loss"] <= MAX_LOSS:
            good, best = rate, result
        else:
            bad = rate
        rate = next_rate(good, bad)
    return {"rate_hz": good and round(good, 1), "trial": best, "tried": tried}


def next_rate(good: float | None, bad: float | None) -> float | None:
    """After the highest that was kept up with and the lowest that was not; None at the end."""
    if bad is None:
        return good * 2 if good < LAST_HZ else None
    if good is None:
        return bad / 2 if bad > 1 else None
    return math.sqrt(good * bad) if bad > PRECISE * good else None
