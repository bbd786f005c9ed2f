"""The numbers on top of a report: of every run, side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from jointseg_eval.bag_evaluation.timeline import PROCESSED, Timeline
from jointseg_eval.evaluation import Evaluation
from jointseg_eval.metrics.columns import mean
from jointseg_eval.report import HEADLINES, number
from jointseg_eval.scores import percentiles

LATENCIES = {"p50": "median, ms", "p95": "95th percentile, ms", "p99": "99th percentile, ms"}

DELAYED = "scores with the delay"


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

    @classmethod
    def of(
        cls,
        name: str,
        timeline: Timeline,
        scored: Evaluation,
        as_known: Evaluation | None = None,
        details: bool = True,
    ) -> Run:
        """With the scores of its frames; details: show tables and curves of them too."""
        metrics, known = (
            one.metrics if one is not None and len(one) else {} for one in (scored, as_known)
        )
        return cls(name, timeline, metrics, known, scored if details and len(scored) else None)

    @property
    def latencies(self) -> dict[str, float | None]:
        """Percentiles in ms, None without a clock."""
        values = self.timeline.latency_ms
        return percentiles(values[np.isfinite(values)])

    @property
    def has_clock(self) -> bool:
        """Whether it took time: whether a latency is known."""
        return self.latencies["p50"] is not None


@dataclass(frozen=True)
class Row:
    """A line of the table: a value for every run, and a small note beside each."""

    title: str
    values: Sequence[str]
    changes: Sequence[str]


def headline(runs: Sequence[Run]) -> dict[str, list[Row]]:
    """The rows of the table, by what they are about; what no run knows is left out."""
    sections = {
        "scores": _scores(runs),
        DELAYED: _known_scores(runs),
        "frames": _frames(runs),
        "latency": [
            _row(title, runs, lambda run, name=name: _or_nan(run.latencies[name]), _tenths)
            for name, title in LATENCIES.items()
        ],
        "what was found": [
            _row("objects in a frame", runs, lambda run: run.timeline.objects_per_frame(), _tenths),
            _row("mean confidence", runs, lambda run: mean(run.timeline.confidence), number),
            _row("flicker", runs, lambda run: mean(run.timeline.flicker), percent),
        ],
    }
    for rows in sections.values():
        rows[:] = [row for row in rows if set(row.values) - {"-"}]
    return {title: rows for title, rows in sections.items() if rows}


def notes(runs: Sequence[Run]) -> dict[str, str]:
    """What to say of sections of the table."""
    told = {
        DELAYED: "A result comes after its frame. Here each frame is judged by the newest result"
        " that was there when it came, which is what a vehicle has to act on; beside it, what that"
        " costs.",
        "latency": "The time from a frame to its result.",
    }
    if len(runs) > 1 and not runs[0].has_clock:
        told["scores"] = f"In small figures: the difference to '{runs[0].name}'."
    return told


def cards(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """The few numbers to see first, each with what it is.

    Where the first run has no clock, it says how good the model is; else each run has a say.
    """
    shown = runs if runs[0].has_clock else runs[:1]
    seen: list[tuple[str, str]] = []
    for run in shown:
        whose = f", {run.name}" if len(shown) > 1 else ""
        seen += [(value, title + whose) for value, title in _first_numbers(run)]
    for run in runs:
        if run.has_clock:
            seen.append((f"{run.latencies['p95']:.0f} ms", f"p95 latency, {run.name}"))
    frames = len(runs[0].timeline)
    return [*seen, (number(frames), "frame" if frames == 1 else "frames")]


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
        seen.append((_tenths(timeline.objects_per_frame()), "objects in a frame"))
    flicker = mean(timeline.flicker)
    return seen if math.isnan(flicker) else [*seen, (percent(flicker), "flicker")]


def _scores(runs: Sequence[Run]) -> list[Row]:
    """What each run scores; beside one without a clock, what the others lack."""
    wanted = {t: lambda run, n=n: run.metrics.get(n, math.nan) for n, t in HEADLINES.items()}
    wanted["mean quality of a frame"] = lambda run: mean(run.timeline.quality)
    return [
        _row(title, runs, of, number, None if runs[0].has_clock else lambda _, of=of: of(runs[0]))
        for title, of in wanted.items()
    ]


def _known_scores(runs: Sequence[Run]) -> list[Row]:
    """The same by what was known, and what each run loses by that."""
    return [
        _row(
            title,
            runs,
            lambda run, name=name: run.as_known.get(name, math.nan),
            number,
            lambda run, name=name: run.metrics.get(name, math.nan),
        )
        for name, title in HEADLINES.items()
    ]


def _frames(runs: Sequence[Run]) -> list[Row]:
    fates = dict.fromkeys(fate for run in runs for fate in run.timeline.fates)
    rows = [_row("frames", runs, lambda run: len(run.timeline), number)]
    for fate in fates:
        counts = [run.timeline.count_of(fate) for run in runs]
        totals = [len(run.timeline) for run in runs]
        if any(counts) or fate == PROCESSED:
            shares = [percent(n / of) if of else "" for n, of in zip(counts, totals, strict=True)]
            rows.append(Row(fate, [number(count) for count in counts], shares))
    if any(len(run.timeline) for run in runs):
        rows.append(_row("duration", runs, lambda run: run.timeline.duration(), clock))
        rows.append(_row("processed a second", runs, _rate, lambda v: number(v, 2)))
    return rows


def _rate(run: Run) -> float:
    lasted = run.timeline.duration()
    return run.timeline.processed.sum() / lasted if lasted else math.nan


def _row(
    title: str,
    runs: Sequence[Run],
    value: Callable[[Run], float],
    text: Callable[[float], str],
    other: Callable[[Run], float] | None = None,
) -> Row:
    """A value of every run; with another one to compare with, what it differs by."""
    values = [value(run) for run in runs]
    others = [other(run) for run in runs] if other else values
    changes = [v - o for v, o in zip(values, others, strict=True)]
    told = ["" if math.isnan(d) or d == 0 else f"{d:+.3f}".replace("-", "\u2212") for d in changes]
    return Row(title, [text(v) for v in values], told)


def _tenths(value: float) -> str:
    return number(value, 1)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
