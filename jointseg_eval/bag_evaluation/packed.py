"""A timeline as the page of a report reads it: columns as base64, small and quick to decode."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jointseg_eval.bag_evaluation.timeline import Timeline

UNKNOWN = 2**16 - 1
"""What a share of 0 to 1, kept as a sixteen-bit number up to UNKNOWN - 1, is when not known."""
PAUSE_S = 60.0
"""Longer ones are cut out of the time axis, and so is a clock that jumps."""
DEFAULT_GAP_S = 0.1
"""From frame to frame, where a recording has one frame alone."""


def packed(name: str, timeline: Timeline, things: Sequence[int] = ()) -> dict[str, Any]:
    """The frames of one run by recording and time, objects of these classes alone, for JSON."""
    order = np.lexsort((timeline.time, timeline.bag))
    order = order[np.isfinite(timeline.time[order])]
    columns = {
        "bag": _numbers(timeline.bag[order]),
        "time": _column("f8", timeline.time[order]),
        "stamp": _column("i8", timeline.stamp[order]),
        "fate": _numbers(timeline.fate[order]),
        "latency": _column("f4", timeline.latency_ms[order]),
    }
    for share in ("quality", "confidence", "flicker"):
        columns[share] = _shares(getattr(timeline, share)[order])
    objects = [_numbers(timeline.objects[order, k]) for k in things]
    return {"name": name, "fates": list(timeline.fates), "columns": columns, "objects": objects}


def stretches(timelines: Sequence[Timeline]) -> list[dict[str, float]]:
    """The time axis: stretches {"bag", "start", "end"} in which frames follow each other, in s.

    The end of one is that of its last frame, which lasts as long as frames do there.
    """
    found: list[dict[str, float]] = []
    for bag in range(len(timelines[0].bags)):
        times = np.unique(np.concatenate([t.time[t.bag == bag] for t in timelines]))
        times = times[np.isfinite(times)]
        for part in np.split(times, 1 + np.flatnonzero(np.diff(times) > PAUSE_S)):
            if len(part):
                gap = float(np.median(np.diff(part))) if len(part) > 1 else DEFAULT_GAP_S
                found.append({"bag": bag, "start": float(part[0]), "end": float(part[-1]) + gap})
    return found


def finite(value: float) -> float | None:
    """The number, or None in place of what JSON does not have."""
    return float(value) if math.isfinite(value) else None


def score_windows(
    windows: Sequence[Mapping[str, float]], titles: Mapping[str, str]
) -> dict[str, Any]:
    """Scores over time for JSON: what they are called and, for each window, its numbers."""
    names = list(dict.fromkeys(name for row in windows for name in row))
    names = [name for name in names if name not in ("bag", "start", "end")]
    rows = [
        [int(row["bag"]), float(row["start"]), float(row["end"])]
        + [finite(row.get(name, math.nan)) for name in names]
        for row in windows
    ]
    return {"titles": [titles.get(name, name) for name in names], "rows": rows}


def _numbers(values: np.ndarray) -> dict[str, str]:
    """Counts, in as few bytes as they need."""
    limits = {"u1": 2**8, "u2": 2**16, "u4": 2**32}
    largest = int(values.max(initial=0))
    return _column(next(kind for kind, limit in limits.items() if largest < limit), values)


def _shares(values: np.ndarray) -> dict[str, str]:
    known = np.isfinite(values)
    shares = np.rint(np.clip(np.where(known, values, 0), 0, 1) * (UNKNOWN - 1))
    return _column("u2", np.where(known, shares, UNKNOWN))


def _column(kind: str, values: np.ndarray) -> dict[str, str]:
    data = np.ascontiguousarray(values, f"<{kind}").tobytes()
    return {"kind": kind, "base64": base64.b64encode(data).decode()}
