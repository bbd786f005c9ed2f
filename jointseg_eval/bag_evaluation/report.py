"""An evaluation of recordings as one HTML file that needs nothing else, not even a network."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from jointseg_eval.bag_evaluation.headline import Run, cards, clock, headline, notes, percent
from jointseg_eval.bag_evaluation.page_data import TimeAxis, frame_data, run_data, score_data
from jointseg_eval.bag_evaluation.timeline import Timeline
from jointseg_eval.metrics.columns import mean
from jointseg_eval.report import COLORS, HEADLINES, jpeg, number, parts, write_page

EXAMPLES = 40
PICTURE_BYTES = 12_000_000
"""What all pictures together may take; where they are many or large, they are made smaller."""
SIZES = ((1280, 85), (960, 82), (720, 80), (640, 65), (480, 50))
"""Widths in pixels, and the JPEG quality that goes with them, the best first."""
SCRIPTS = (
    "vendor/uplot/uPlot.iife.min.js",
    *(f"bag_evaluation/{name}.js" for name in ("lanes", "frames", "timeline")),
)


@dataclass(frozen=True, eq=False)
class Example:
    """A frame to look at.

    name     what it is called, such as its stamp
    bag      which of the timeline's recordings
    time     seconds since the first frame of its recording
    quality  0 to 1, see `Evaluation.quality`; NaN without truth
    picture  RGB [H, W, 3]
    found    the same with what was found drawn over it, for each of those that looked
    truth    the same with what is there, or None where it is not known
    classes  names of the classes of objects in it, found or true
    """

    name: str
    bag: int
    time: float
    quality: float
    picture: np.ndarray
    found: Mapping[str, np.ndarray]
    truth: np.ndarray | None
    classes: tuple[str, ...]


def write_bag_report(
    path: Path,
    runs: Sequence[Run],
    facts: Mapping[str, str],
    windows: Sequence[Mapping[str, float]] = (),
    examples: Sequence[Example] = (),
    losses: Sequence[str] = (),
) -> None:
    """Write the report of an evaluation of recordings.

    Args:
        runs: over the same frames; the first one is drawn in full, one other beside it.
        facts: shown on top, by what they are called; "title" is the headline.
        windows: scores over time: "bag" (which of the timeline's recordings), "start", "end" (s),
            and scores by the names of `Evaluation.metrics` or others, NaN where not known.
        examples: 40 of them are shown, the worst first and then, in the order given, those of
            unknown quality.
        losses: sentences that say what could not be evaluated.
    """
    timeline = runs[0].timeline
    chosen = sorted(examples, key=lambda e: (math.isnan(e.quality), e.quality))[:EXAMPLES]
    names = _class_names(timeline, chosen)
    colors = _colors(names)
    script = _script()
    write_page(
        path,
        "bag_evaluation/report.html",
        facts=facts,
        losses=losses,
        runs=runs,
        cards=cards(runs),
        headline=headline(runs),
        notes=notes(runs),
        recordings=_recordings(timeline),
        has_quality=bool(np.isfinite(timeline.quality).any()),
        classes=list(zip(names, colors, strict=True)),
        examples=_shown(chosen, timeline),
        data=_data(runs, windows, chosen, names, colors),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        scored=_scored(runs, dict(zip(names, colors, strict=True))),
        layers=_layer_names(chosen),
        percent=percent,
    )


def _scored(runs: Sequence[Run], colors: Mapping[str, str]) -> list[dict[str, Any]]:
    """Tables, curves and matrices of each run that has them, with its name where several do.

    A class has one colour on the whole page.
    """
    shown = [run for run in runs if run.evaluation is not None]
    found = [parts(run.evaluation, run.name if len(shown) > 1 else "") for run in shown]
    lines = (line for one in found for curve in one["curves"] for line in curve["lines"])
    for line in lines:
        line["color"] = colors.get(line["name"], line["color"])
    return found


def _data(
    runs: Sequence[Run],
    windows: Sequence[Mapping[str, float]],
    examples: Sequence[Example],
    names: Sequence[str],
    colors: Sequence[str],
) -> dict[str, Any]:
    """What the script of the page draws from; only the first run has its objects drawn."""
    timeline = runs[0].timeline
    axis = TimeAxis([run.timeline for run in runs])
    things = [timeline.things.index(name) for name in names if name in timeline.things]
    return {
        "bags": timeline.bags,
        "classes": [{"name": n, "color": c} for n, c in zip(names, colors, strict=True)],
        "things": [names.index(timeline.things[k]) for k in things],
        "stretches": axis.stretches,
        "end": axis.end,
        "ranges": [axis.range_of(bag) for bag in range(len(timeline.bags))],
        "frames": frame_data(timeline, axis, things),
        "runs": [run_data(run.name, run.timeline, axis) for run in runs],
        "scores": score_data(windows, HEADLINES, axis),
        "examples": [
            {"x": axis.place(e.bag, e.time), "classes": [names.index(n) for n in e.classes]}
            for e in examples
        ],
        "palette": COLORS,
    }


def _class_names(timeline: Timeline, examples: Sequence[Example]) -> list[str]:
    """The classes that occur, the most frequent first."""
    counts = timeline.objects.sum(0, dtype=np.int64)
    order = [timeline.things[k] for k in np.argsort(-counts, kind="stable") if counts[k]]
    return list(dict.fromkeys([*order, *(name for e in examples for name in e.classes)]))


def _colors(names: Sequence[str]) -> list[str]:
    """A colour for each class: those of the charts, then hues a golden angle apart."""
    more = [f"hsl({137.5 * k % 360:.0f} 50% 55%)" for k in range(len(names) - len(COLORS))]
    return [*COLORS, *more][: len(names)]


def _recordings(timeline: Timeline) -> list[dict[str, Any]]:
    """A row for each recording."""
    rows = []
    for bag, name in enumerate(timeline.bags):
        own = timeline.where(timeline.bag == bag)
        rows.append(
            {
                "name": name,
                "frames": len(own),
                "duration": clock(own.duration()) if len(own) else "-",
                "lost": 1 - own.processed.mean() if len(own) else math.nan,
                "quality": mean(own.quality),
                "confidence": mean(own.confidence),
                "flicker": mean(own.flicker),
            }
        )
    return rows


def _shown(examples: Sequence[Example], timeline: Timeline) -> list[dict[str, Any]]:
    """The examples as the page shows them."""
    pictures = _pictures(examples)
    return [
        {
            "name": example.name,
            "bag": timeline.bags[example.bag],
            "time": clock(example.time),
            "quality": number(example.quality, 2),
            "classes": example.classes,
            "pictures": shown,
        }
        for example, shown in zip(examples, pictures, strict=True)
    ]


def _pictures(examples: Sequence[Example]) -> list[dict[str, str]]:
    """For each example its pictures as data URLs, as large as all of them may be together."""
    made: list[dict[str, str]] = []
    for width, quality in SIZES:
        limit = PICTURE_BYTES if (width, quality) != SIZES[-1] else math.inf
        made, total = [], 0
        for example in examples:
            layers = _layers(example).items()
            made.append({k: jpeg(p, width, quality) for k, p in layers if p is not None})
            total += sum(map(len, made[-1].values()))
            if total > limit:
                break
        if total <= limit:
            break
    return made


def _layers(example: Example) -> dict[str, np.ndarray | None]:
    return {"picture": example.picture, "truth": example.truth, **example.found}


def _layer_names(examples: Sequence[Example]) -> list[str]:
    """What can be looked at, in the order of the page."""
    found = dict.fromkeys(name for example in examples for name in example.found)
    known = any(example.truth is not None for example in examples)
    return ["picture", *(["truth"] if known else []), *found]


def _script() -> str:
    """The scripts of the page as one."""
    folder = Path(__file__).parents[1]
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS)
