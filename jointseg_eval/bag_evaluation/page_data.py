"""Timelines as the page of a report reads them: on one time axis, columns as base64."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jointseg_eval.bag_evaluation.timeline import DEFAULT_GAP_S, PROCESSED, Timeline

UNKNOWN = 2**16 - 1
"""What a share of 0 to 1, kept as a sixteen-bit number up to UNKNOWN - 1, is when not known."""
PAUSE_S = 60.0
"""Longer ones are cut out of the time axis, and so is a clock that jumps."""
NO_SCORES = ("bag", "start", "end", "frames")
MISSING = "not evaluated"
"""What became of a frame that another run has alone."""


class TimeAxis:
    """All frames of some runs in one row, recording after recording, in seconds from 0.

    bag, time, x  [F]  the recording of each frame, its time within it, and its place on the axis
    end           of the axis
    stretches     {"bag", "start", "end", "at"}: frames that follow each other, in s; "end" is that
                  of the last frame, which lasts as long as frames do there
    """

    def __init__(self, timelines: Sequence[Timeline]) -> None:
        frames = np.concatenate([np.stack([t.bag, t.time], 1) for t in timelines])
        frames = np.unique(frames[np.isfinite(frames).all(1)], axis=0)
        self.bag, self.time = frames[:, 0].astype(int), frames[:, 1]
        self.x = np.zeros(len(frames))
        self.stretches: list[dict[str, float]] = []
        pauses = (np.diff(self.bag) != 0) | (np.diff(self.time) > PAUSE_S)
        at = 0.0
        for part in np.split(np.arange(len(frames)), 1 + np.flatnonzero(pauses)):
            if len(part):
                times = self.time[part]
                self.x[part] = at + times - times[0]
                gap = float(np.median(np.diff(times))) if len(times) > 1 else DEFAULT_GAP_S
                start, end = float(times[0]), float(times[-1]) + gap
                bag = int(self.bag[part[0]])
                self.stretches.append({"bag": bag, "start": start, "end": end, "at": at})
                at += end - start
        self.end = at

    def place(self, bag: int, time: float) -> float | None:
        """Where a time of a recording is on the axis; None for a recording without frames."""
        own = [s for s in self.stretches if s["bag"] == bag]
        if not own:
            return None
        stretch = [own[0], *(s for s in own if s["start"] <= time)][-1]
        return stretch["at"] + min(max(time, stretch["start"]), stretch["end"]) - stretch["start"]

    def range_of(self, bag: int) -> tuple[float, float]:
        """Where a recording begins and ends on the axis; (0, 0) for one without frames."""
        own = [s for s in self.stretches if s["bag"] == bag]
        return (own[0]["at"], own[-1]["at"] + own[-1]["end"] - own[-1]["start"]) if own else (0, 0)

    def rows_of(self, timeline: Timeline) -> np.ndarray:
        """Which row of a timeline is each frame of the axis, int [F]; -1 for none."""
        number = {key: k for k, key in enumerate(zip(timeline.bag, timeline.time, strict=True))}
        keys = zip(self.bag, self.time, strict=True)
        return np.array([number.get(key, -1) for key in keys], int)

    def rates(self, done: np.ndarray) -> np.ndarray:
        """Of the frames for which done, bool [F], is true, how many a second there are around each.

        Within a second on either side, or two frames where these are further apart.
        """
        half = max(1.0, 2 * float(np.median(np.diff(self.x)))) if len(self.x) > 1 else 1.0
        starts = np.array([s["at"] for s in self.stretches] or [0.0])
        stretch = np.searchsorted(starts, self.x, "right") - 1
        ends = np.append(starts[1:], np.inf)[stretch]
        first = np.searchsorted(self.x, np.maximum(starts[stretch], self.x - half))
        last = np.searchsorted(self.x, np.minimum(ends, self.x + half)) - 1
        total = np.append(0, np.cumsum(done))
        shares = (total[last + 1] - total[first]) / (last + 1 - first)
        with np.errstate(divide="ignore", invalid="ignore"):
            rates = shares * (last - first) / (self.x[last] - self.x[first])
        return np.where(last > first, rates, np.nan)


def run_data(name: str, timeline: Timeline, axis: TimeAxis) -> dict[str, Any]:
    """A run for JSON: what is known of each frame of the axis."""
    rows = axis.rows_of(timeline)
    fates = [*timeline.fates, *([MISSING] if (rows < 0).any() else [])]
    fate = _taken(timeline.fate, rows, len(timeline.fates))
    return {
        "name": name,
        "fates": fates,
        "fate": column("u1", fate),
        "rate": column("f4", axis.rates(fate == fates.index(PROCESSED))),
        "latency": column("f4", _taken(timeline.latency_ms, rows, np.nan)),
        **{
            share: _shares(_taken(getattr(timeline, share), rows, np.nan))
            for share in ("quality", "confidence", "flicker")
        },
    }


def frame_data(timeline: Timeline, axis: TimeAxis, things: Sequence[int]) -> dict[str, Any]:
    """For JSON: the frames of the axis, and how many objects of these classes a timeline has."""
    rows = axis.rows_of(timeline)
    return {
        "x": column("f8", axis.x),
        "stamps": column("i8", _taken(timeline.stamp, rows, 0)),
        "recorded": column("f4", axis.rates(np.ones(len(axis.x), bool))),
        "objects": [column("u2", _taken(timeline.objects[:, k], rows, 0)) for k in things],
    }


def score_data(
    windows: Sequence[Mapping[str, float | None]], titles: Mapping[str, str], axis: TimeAxis
) -> list[dict[str, Any]]:
    """Scores of windows for JSON: what each is called and, for each frame, that of its window."""
    names = dict.fromkeys(name for row in windows for name in row)
    found = {name: np.full(len(axis.x), np.nan) for name in names if name not in NO_SCORES}
    for row in windows:
        bag, start, end = (row[name] for name in NO_SCORES[:3])
        inside = (axis.bag == bag) & (axis.time >= start) & (axis.time <= end)
        for name, values in found.items():
            values[inside] = np.nan if row.get(name) is None else row[name]
    return [{"title": titles.get(k, k), "values": _shares(v)} for k, v in found.items()]


def column(kind: str, values: np.ndarray) -> dict[str, str]:
    """Values for JSON, as little-endian numbers of a kind; a share is a u2, see UNKNOWN."""
    data = np.ascontiguousarray(values, "<u2" if kind == "share" else f"<{kind}").tobytes()
    return {"kind": kind, "base64": base64.b64encode(data).decode()}


def _taken(values: np.ndarray, rows: np.ndarray, missing: float) -> np.ndarray:
    """The values of these rows, and another one for row -1."""
    return np.append(values, np.array([missing], values.dtype))[rows]


def _shares(values: np.ndarray) -> dict[str, str]:
    known = np.isfinite(values)
    shares = np.rint(np.clip(np.where(known, values, 0), 0, 1) * (UNKNOWN - 1))
    return column("share", np.where(known, shares, UNKNOWN))
