"""The numbers on top of a report: of every run, side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from jointseg_eval.bag_evaluation.page_data import DEFAULT_GAP_S
from jointseg_eval.bag_evaluation.timeline import PROCESSED, Timeline
from jointseg_eval.evaluation import Evaluation
from jointseg_eval.report import HEADLINES, number
from jointseg_eval.scores import percentiles


@dataclass(frozen=True, eq=False)
class Run:
    """One pass over the recordings: without a clock, or played to a node at some rate.

    metrics     its scores by name, as `Evaluation.metrics`; none without truth
    as_known    those of all frames by what was known when each came; none without a clock
    evaluation  what tables, curves and matrices are made from, if they are to be shown
    """

    name: str
    timeline: Timeline
    metrics: Mapping[str, float] = field(default_factory=dict)
    as_known: Mapping[str, float] = field(default_factory=dict)
    evaluation: Evaluation | None = None

    @property
    def has_clock(self) -> bool:
        """Whether it took time: whether a latency is known."""
        return bool(np.isfinite(self.timeline.latency_ms).any())


@dataclass(frozen=True)
class Row:
    """A line of the table: a value for every run, and what it differs by where that is a cost."""

    title: str
    values: Sequence[str]
    changes: Sequence[str]


def headline(runs: Sequence[Run]) -> dict[str, list[Row]]:
    """The rows of the table, by what they are about; what no run knows is left out."""
    sections = {
        "scores": _scores(runs),
        "scores of what was known when a frame came": _known_scores(runs),
        "frames": _frames(runs),
        "latency": _latencies(runs),
        "what was found": _contents(runs),
    }
    return {title: rows for title, rows in sections.items() if rows}


def cards(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """The few numbers to see first, each with what it is.

    Where the first run has no clock, it says how good the model is; else each run has a say.
    """
    judged = runs if runs[0].has_clock else runs[:1]
    seen: list[tuple[str, str]] = []
    for run in judged:
        whose = f", {run.name}" if len(judged) > 1 else ""
        seen += [(value, title + whose) for value, title in _first_numbers(run)]
    for run in runs:
        p95 = percentiles(run.timeline.latency_ms[np.isfinite(run.timeline.latency_ms)])["p95"]
        if p95 is not None:
            seen.append((f"{p95:.0f} ms", f"p95 latency, {run.name}"))
    frames = len(runs[0].timeline)
    seen.append((number(frames), "frame" if frames == 1 else "frames"))
    return seen


def duration(timeline: Timeline) -> float:
    """Seconds that the recordings last; pauses count, a clock that jumps does too."""
    lasted = 0.0
    for bag in np.unique(timeline.bag):
        times = np.sort(timeline.time[timeline.bag == bag])
        gap = float(np.median(np.diff(times))) if len(times) > 1 else DEFAULT_GAP_S
        lasted += float(times[-1] - times[0]) + gap
    return lasted


def mean(values: np.ndarray) -> float:
    """The mean of what is known; NaN when nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan


def objects_per_frame(timeline: Timeline) -> float:
    """The mean number of objects shown in a frame that was processed; NaN without any."""
    return mean(timeline.objects[processed(timeline)].sum(1))


def processed(timeline: Timeline) -> np.ndarray:
    """bool [F], which frames have a result."""
    return timeline.fate == timeline.fates.index(PROCESSED)


def percent(share: float) -> str:
    """A share for people; a dash for none."""
    return "-" if math.isnan(share) else f"{100 * share:.1f} %"


def clock(seconds: float) -> str:
    """A time within a recording: 0:07.3, 12:07.3, 1:02:07.3."""
    tenths = round(abs(seconds) * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    start = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{'-' if seconds < 0 and tenths else ''}{start}:{rest // 10:02}.{rest % 10}"


def _first_numbers(run: Run) -> list[tuple[str, str]]:
    timeline, metrics = run.timeline, run.metrics
    scores = [name for name in ("mask_ap", "box_ap", "miou", "pq") if name in metrics]
    seen = [(number(metrics[name]), HEADLINES[name]) for name in scores]
    if not scores:
        seen.append((number(mean(timeline.confidence)), "mean confidence"))
        seen.append((number(objects_per_frame(timeline), 1), "objects in a frame"))
    known = np.isfinite(timeline.flicker).any()
    return [*seen, *([(percent(mean(timeline.flicker)), "flicker")] if known else [])]


def _scores(runs: Sequence[Run]) -> list[Row]:
    """What each run scores; beside one without a clock, what the others lack."""
    rows = {
        title: [run.metrics.get(name, math.nan) for run in runs]
        for name, title in HEADLINES.items()
    }
    rows["mean quality of a frame"] = [mean(run.timeline.quality) for run in runs]
    return [
        _row(title, values, [math.nan if runs[0].has_clock else values[0]] * len(runs))
        for title, values in rows.items()
        if _any(values)
    ]


def _known_scores(runs: Sequence[Run]) -> list[Row]:
    """The same by what was known, and what each run loses by that."""
    rows = {
        title: [[of.get(name, math.nan) for of in (run.as_known, run.metrics)] for run in runs]
        for name, title in HEADLINES.items()
    }
    pairs = {title: list(zip(*values, strict=True)) for title, values in rows.items()}
    return [_row(title, *values) for title, values in pairs.items() if _any(values[0])]


def _frames(runs: Sequence[Run]) -> list[Row]:
    lines = [run.timeline for run in runs]
    fates = dict.fromkeys(fate for line in lines for fate in line.fates)
    rows = [Row("frames", [number(len(line)) for line in lines], [""] * len(runs))]
    for fate in fates:
        counts = [round(line.share_of(fate) * len(line)) for line in lines]
        if any(counts) or fate == PROCESSED:
            shares = [percent(line.share_of(fate)) if len(line) else "" for line in lines]
            rows.append(Row(fate, [number(count) for count in counts], shares))
    lasted = [duration(line) for line in lines]
    if any(lasted):
        rates = [
            processed(line).sum() / time if time else math.nan
            for line, time in zip(lines, lasted, strict=True)
        ]
        rows.append(Row("duration", [clock(time) for time in lasted], [""] * len(runs)))
        rows.append(_row("processed per second", rates, digits=2))
    return rows


def _latencies(runs: Sequence[Run]) -> list[Row]:
    known = [run.timeline.latency_ms for run in runs]
    found = [percentiles(values[np.isfinite(values)]) for values in known]
    if not any(one["p50"] is not None for one in found):
        return []
    names = {"p50": "median, ms", "p95": "95th percentile, ms", "p99": "99th percentile, ms"}
    none = [""] * len(runs)
    return [Row(t, [number(one[name], 1) for one in found], none) for name, t in names.items()]


def _contents(runs: Sequence[Run]) -> list[Row]:
    lines = [run.timeline for run in runs]
    confidence = [mean(line.confidence) for line in lines]
    flicker = [mean(line.flicker) for line in lines]
    rows = [
        _row("objects in a frame", [objects_per_frame(line) for line in lines], digits=1),
        _row("mean confidence", confidence),
        Row("flicker", [percent(value) for value in flicker], [""] * len(runs)),
    ]
    known = ([objects_per_frame(line) for line in lines], confidence, flicker)
    return [row for row, values in zip(rows, known, strict=True) if _any(values)]


def _row(
    title: str, values: Sequence[float], others: Sequence[float] | None = None, digits: int = 3
) -> Row:
    """A row of values, each with what it differs by from the one in its place of `others`."""
    pairs = zip(values, others or values, strict=True)
    return Row(title, [number(v, digits) for v in values], [_changed(*pair) for pair in pairs])


def _changed(value: float, before: float) -> str:
    same = math.isnan(value - before) or value == before
    return "" if same else f"{value - before:+.3f}".replace("-", "\u2212")


def _any(values: Sequence[float]) -> bool:
    return any(not math.isnan(value) for value in values)
