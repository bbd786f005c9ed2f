"""Losses and scores over the steps of a run, as one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

SCORES = ("box_ap", "box_ap50", "mask_ap", "mask_ap50", "miou", "pq")
SIZE, DPI = (12.0, 7.0), 100


def curves(records: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Loss, its parts, scores and rate over the steps, uint8 RGB; of lines of metrics.jsonl."""
    training, validation = (
        [r for r in records if r["kind"] == k] for k in ("training", "validation")
    )
    parts = sorted({name for r in training for name in r if name.startswith("loss_")})
    figure = Figure(SIZE, DPI, layout="constrained")
    whole, each, scores, rate = figure.subplots(2, 2).flat
    _draw(whole, "loss", training, ["loss"])
    _draw(each, "its parts", training, parts)
    _draw(scores, "scores of validation", validation, SCORES)
    _draw(rate, "learning rate", training, ["lr"])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw(
    axes: Axes, title: str, records: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> None:
    """A line for each name that some record has; values that are no numbers are left out."""
    axes.set(title=title, xlabel="step")
    axes.grid(axis="y")
    for name in names:
        known = [(r["step"], r[name]) for r in records if isinstance(r.get(name), int | float)]
        if known:
            steps, values = zip(*known, strict=True)
            label = name.removeprefix("loss_").replace("_", " ")
            axes.plot(steps, values, "." if len(known) == 1 else ".-", label=label, markersize=3)
    if len(axes.lines) > 1:
        axes.legend(frameon=False, fontsize="small")
